"""A real browser without a window: Chromium, spoken to over a pipe in its DevTools protocol."""

import base64
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from typing_extensions import Self

from .processes import wait_until

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
_OPTIONS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--hide-scrollbars"),
    "--remote-debugging-pipe",
)
_WITH_PIPE = """
import fcntl, os, sys
read, write, *command = sys.argv[1:]
read, write = (fcntl.fcntl(int(one), fcntl.F_DUPFD, 10) for one in (read, write))
os.dup2(read, 3)
os.dup2(write, 4)
os.execv(command[0], command)
"""
"""A browser reads what it is asked from file 3 and answers in file 4."""
_SECONDS = 120.0
"""For an answer; a busy machine takes far longer than a free one."""
KEYS = {"Tab": 9, "Enter": 13, " ": 32}


class Browser:
    """Chromium with a profile of its own."""

    def __init__(self) -> None:
        assert CHROMIUM
        self._profile = tempfile.mkdtemp(prefix="chromium-")
        theirs, self._write = os.pipe()
        self._read, answers = os.pipe()
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-c", _WITH_PIPE, str(theirs), str(answers), CHROMIUM),
                *(*_OPTIONS, f"--user-data-dir={self._profile}", "about:blank"),
            ],
            pass_fds=(theirs, answers),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(theirs)
        os.close(answers)
        self._rest = b""
        self._asked = 0
        self.events: list[dict[str, Any]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        os.close(self._read)
        os.close(self._write)
        shutil.rmtree(self._profile, ignore_errors=True)

    def ask(self, method: str, session: str | None = None, **params: Any) -> Any:
        """What it answers; events that come before are kept."""
        self._asked += 1
        message = {"id": self._asked, "method": method, "params": params}
        message |= {"sessionId": session} if session else {}
        os.write(self._write, json.dumps(message).encode() + b"\0")
        end = time.monotonic() + _SECONDS
        while True:
            answer = self._next(end)
            if answer.get("id") == self._asked:
                assert "error" not in answer, (method, answer["error"])
                return answer["result"]
            self.events.append(answer)

    def _next(self, end: float) -> dict[str, Any]:
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._read], [], [], max(end - time.monotonic(), 0))
            assert ready, "the browser does not answer"
            chunk = os.read(self._read, 2**20)
            assert chunk, "the browser has ended"
            self._rest += chunk
        message, _, self._rest = self._rest.partition(b"\0")
        answer: dict[str, Any] = json.loads(message)
        return answer

    def open(self, url: str, **look: Any) -> "Tab":
        """A tab in which nobody has been before."""
        context = self.ask("Target.createBrowserContext")["browserContextId"]
        target = self.ask("Target.createTarget", url="about:blank", browserContextId=context)
        return Tab(self, context, target["targetId"]).go(url, **look)


class Tab:
    """A page, and the person before it."""

    def __init__(self, browser: Browser, context: str, target: str) -> None:
        self._browser, self._context = browser, context
        attached = browser.ask("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{domain}.enable")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._browser.ask("Target.disposeBrowserContext", browserContextId=self._context)

    def ask(self, method: str, **params: Any) -> Any:
        return self._browser.ask(method, self._session, **params)

    def go(
        self,
        url: str,
        *,
        language: str = "en-GB",
        dark: bool = False,
        width: int = 1280,
        height: int = 800,
        scale: float = 1,
    ) -> Self:
        agent = self._browser.ask("Browser.getVersion")["userAgent"]
        self.ask("Emulation.setUserAgentOverride", userAgent=agent, acceptLanguage=language)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.ask("Emulation.setEmulatedMedia", features=[scheme])
        self.resize(width, height, scale)
        self.ask("Page.navigate", url=url)
        assert self.until("document.readyState === 'complete'")
        return self

    def resize(self, width: int, height: int, scale: float = 1) -> None:
        size = {"width": width, "height": height, "deviceScaleFactor": scale}
        self.ask("Emulation.setDeviceMetricsOverride", mobile=width < 600, **size)

    def run(self, expression: str) -> Any:
        """What JavaScript gives; the policy of the page does not bind it."""
        found = self.ask(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def text(self, selector: str) -> str:
        return str(self.run(f"document.querySelector({json.dumps(selector)}).innerText"))

    def until(self, expression: str, seconds: float = 60) -> bool:
        return wait_until(lambda: bool(self.run(expression)), seconds)

    def fill(self, selector: str, text: str) -> None:
        """Put `text` where somebody would have pasted it."""
        self.focus(selector)
        self.run("document.activeElement.select()")
        self.ask("Input.insertText", text=text)

    def focus(self, selector: str) -> None:
        self.run(f"document.querySelector({json.dumps(selector)}).focus()")

    def focused(self) -> str:
        return str(self.run("document.activeElement.id || document.activeElement.tagName"))

    def press(self, key: str, modifiers: int = 0) -> None:
        """A key; `modifiers`: 2 Ctrl, 8 Shift."""
        same = {"key": key, "code": key, "windowsVirtualKeyCode": KEYS[key], "modifiers": modifiers}
        text = {"Enter": "\r", " ": " "}.get(key)
        self.ask(
            "Input.dispatchKeyEvent", type="keyDown", **same, **({"text": text} if text else {})
        )
        self.ask("Input.dispatchKeyEvent", type="keyUp", **same)

    def click(self, selector: str) -> None:
        self.run(f"document.querySelector({json.dumps(selector)}).click()")

    def complaints(self) -> list[str]:
        """What the browser says went wrong: exceptions, and what the policy forbade."""
        self.run("0")  # what came before has arrived
        found = [one for one in self._browser.events if one.get("sessionId") == self._session]
        return [
            json.dumps(one["params"])
            for one in found
            if one["method"] in ("Runtime.exceptionThrown", "Log.entryAdded")
        ]

    def asked(self) -> list[str]:
        """Every address that was asked."""
        return [
            one["params"]["request"]["url"]
            for one in self._browser.events
            if one.get("sessionId") == self._session
            and one["method"] == "Network.requestWillBeSent"
        ]

    def screenshot(self, file: Path, *, whole: bool = True) -> None:
        shot = self.ask("Page.captureScreenshot", captureBeyondViewport=whole, **self._clip(whole))
        file.write_bytes(base64.b64decode(shot["data"]))

    def _clip(self, whole: bool) -> dict[str, Any]:
        if not whole:
            return {}
        size = self.ask("Page.getLayoutMetrics")["cssContentSize"]
        return {"clip": {"x": 0, "y": 0, "scale": 1, **{k: size[k] for k in ("width", "height")}}}
