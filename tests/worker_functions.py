"""Functions that worker processes run in the tests: good ones, and all the ways to be bad."""

import ctypes
import os
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


def burn(cpu_s):
    """Uses so many seconds of CPU; answers with what it has used."""
    began = time.process_time()
    while time.process_time() - began < cpu_s:
        pass
    return time.process_time() - began


def _private():
    return "reached"
