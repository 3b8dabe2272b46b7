"""A headless Chromium, driven by its own DevTools protocol over two pipes: no driver, no port, no library.

https://chromedevtools.github.io/devtools-protocol/ ; messages are JSON, each ended by a zero byte.
"""

from __future__ import annotations

import itertools
import json
import os
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
ANSWER_S = 60.0
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-dev-shm-usage",
    "--no-first-run", "--hide-scrollbars", "--remote-debugging-pipe",
)  # fmt: skip


class Browser:
    """One page."""

    def __init__(self, process: subprocess.Popen[bytes], to: int, back: int) -> None:
        self._process = process
        self._to, self._back = to, back
        self._rest = b""
        self._numbers = itertools.count(1)
        self._session = ""
        self._loads = 0
        self.requests: list[str] = []
        """What the page asked a network for."""
        self.errors: list[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: object) -> dict[str, Any]:
        number = next(self._numbers)
        message: dict[str, object] = {"id": number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        for told in self._told():
            if told.get("id") == number:
                assert "error" not in told, told["error"]
                result: dict[str, Any] = told["result"]
                return result
        raise AssertionError(f"no answer to {method}")

    def _told(self) -> Iterator[dict[str, Any]]:
        until = time.monotonic() + ANSWER_S
        while True:
            while b"\0" in self._rest:
                line, self._rest = self._rest.split(b"\0", 1)
                told = json.loads(line)
                if told.get("method") == "Network.requestWillBeSent":
                    self.requests.append(told["params"]["request"]["url"])
                elif told.get("method") == "Page.loadEventFired":
                    self._loads += 1
                elif told.get("method") == "Runtime.exceptionThrown":
                    self.errors.append(str(told["params"]["exceptionDetails"]))
                yield told
            ready, _, _ = select.select([self._back], [], [], max(until - time.monotonic(), 0.0))
            assert ready, "the browser does not answer"
            data = os.read(self._back, 1 << 20)
            assert data, "the browser has gone"
            self._rest += data

    def look(self, width: int, height: int, scheme: str = "light") -> None:
        """From now on the screen is so large, and its colours are so."""
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def open(self, path: Path, fragment: str = "") -> None:
        """A page that says that it is ready."""
        for url in ("about:blank", path.resolve().as_uri() + fragment):  # a page of its own, also if only # differs
            before = self._loads
            self.call("Page.navigate", url=url)
            while self._loads == before:
                next(self._told())
        self.until("document.documentElement.dataset.ready === 'yes'")

    def run(self, code: str) -> Any:
        """The value of an expression; a promise is awaited."""
        told = self.call("Runtime.evaluate", expression=code, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in told, told
        return told["result"].get("value")

    def until(self, condition: str) -> None:
        code = (
            f"new Promise(done => {{ const look = () => ({condition}) ? done(true) : setTimeout(look, 10); look(); }})"
        )
        assert self.run(code)

    def click(self, x: float, y: float) -> None:
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def move(self, x: float, y: float) -> None:
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def click_on(self, selector: str) -> None:
        """In the middle of the first that fits."""
        element = f"document.querySelector({json.dumps(selector)})"
        self.run(f"{element}.scrollIntoView({{block: 'center', behavior: 'instant'}})")
        box = self.run(f"(b => [b.x + b.width / 2, b.y + b.height / 2])({element}.getBoundingClientRect())")
        self.click(*box)

    def type(self, text: str) -> None:
        self.call("Input.insertText", text=text)

    def key(self, key: str) -> None:
        for kind in ("keyDown", "keyUp"):
            self.call(
                "Input.dispatchKeyEvent",
                type=kind,
                key=key,
                code=key,
                windowsVirtualKeyCode=27 if key == "Escape" else 13,
            )


@contextmanager
def browser(folder: Path) -> Iterator[Browser]:
    """Runs while the block does; all its processes are gone afterwards."""
    assert CHROMIUM is not None
    commands, to = os.pipe()
    back, answers = os.pipe()
    script = f'exec "$@" 3<&{commands} 4>&{answers}'
    process = subprocess.Popen(
        ["bash", "-c", script, "chromium", CHROMIUM, *FLAGS, f"--user-data-dir={folder / 'profile'}"],
        pass_fds=(commands, answers),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    os.close(commands)
    os.close(answers)
    try:
        yield Browser(process, to, back)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        os.close(to)
        os.close(back)
