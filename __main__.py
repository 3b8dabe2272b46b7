"""`python -m parley`: how agents and workers are started."""

import sys

if __name__ == "__main__":
    if sys.argv[1:2] == ["worker"]:  # before anything heavy is imported: a worker must be ready at once
        from .agents.executors.worker import main as work

        work(sys.argv[2:])
    else:
        from .launch.cli import main

        main()
