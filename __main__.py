"""`python -m parley`: how agents and workers are started."""

from .launch.cli import main

if __name__ == "__main__":
    main()
