"""Functions that worker processes run in the tests: good ones, and all the ways to be bad."""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from os.path import basename  # noqa: F401  (imported here, not defined here)

NOT_A_FUNCTION = 7


def add(a, b=1):
    return a + b


def nothing():
    return None


def pid():
    return os.getpid()


def double(array):
    return {"array": array * 2, "mean": array.mean(), "writable": array.flags.writeable}


def attempt():
    return [os.environ["PARLEY_TASK"], os.environ["PARLEY_EPOCH"]]


def environment(name):
    return os.environ.get(name)


def modules():
    return sorted(sys.modules)


def whose_agents():
    import agents

    return agents.OWNER


def raises(text):
    raise ValueError(text)


def leaves():
    sys.exit(3)


def unsendable():
    return {1, 2}


def huge():
    return b"x" * (5 * 1024 * 1024)


def large(size):
    return b"x" * size


def segfault():
    ctypes.string_at(0)


def vanish(code):
    os._exit(code)


def killed():
    """As the system does it when memory runs out."""
    os.kill(os.getpid(), signal.SIGKILL)


def aborted():
    os.abort()


def forks():
    """Returns twice: as itself, and as a copy of itself that is no worker."""
    os.fork()
    return os.getpid()


def babbles():
    """Writes what is no frame to wherever it can, so to the channel too, and never returns."""
    for fd in map(int, os.listdir("/proc/self/fd")):
        with contextlib.suppress(OSError):
            os.write(fd, b"\xff" * 64)
    threading.Event().wait()


def deafens():
    """Closes the channel and never returns."""
    os.closerange(3, 100)
    threading.Event().wait()


def leaves_behind(escape):
    """A process that holds the streams open, in this group or out of it."""
    child = subprocess.Popen([sys.executable, "-S", "-c", "import signal; signal.pause()"], start_new_session=escape)
    return child.pid


def hang():
    """Says that it has begun, and never ends: nor does the child that it starts."""
    child = subprocess.Popen([sys.executable, "-S", "-c", "import signal; signal.pause()"])
    print(f"{os.getpid()} {child.pid}")
    threading.Event().wait()


def compute():
    """Keeps the interpreter busy for ever."""
    print("computing")
    while True:
        pass


def flood(lines):
    """Prints on both streams, from Python and past it, then answers."""
    for i in range(lines):
        print(f"line {i} " + "x" * 100)
    os.write(1, b"\xff\xfe raw\n" * 100)
    print("y" * 1_000_000, file=sys.stderr)
    return sys.stdin.read()


def say(text):
    print(text)


def say_and_complain(text, complaint):
    """On both streams, with what is no text too; then answers."""
    print(text)
    print(complaint, file=sys.stderr)
    os.write(1, b"\xff")
    return "said"


def burn(cpu_s):
    """Uses so many seconds of CPU; answers with what it has used."""
    began = time.process_time()
    while time.process_time() - began < cpu_s:
        pass
    return time.process_time() - began


def _private():
    return "reached"
