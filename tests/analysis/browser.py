"""A headless Chromium for the tests, driven by chromedriver over plain HTTP (W3C WebDriver)."""

import json
import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from typing import Any

ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
"""Key under which WebDriver names an element."""
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
PATIENCE = 300.0
"""Seconds after which a test stops waiting: many times what an idle machine takes."""
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-sync",
    "--no-first-run",
)


def missing() -> str:
    """What this machine lacks for the browser tests; empty where it has all."""
    browser = any(shutil.which(name) for name in BROWSERS)
    lacking = [
        name for name, found in (("chromium", browser), ("chromium-driver", shutil.which("chromedriver"))) if not found
    ]
    return f"install {' and '.join(lacking)}" if lacking else ""


class Browser:
    """One window; a context manager that ends browser and driver."""

    def __init__(self, profile: str) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self._session = ""
        self._url = f"http://127.0.0.1:{port}"
        self._driver = subprocess.Popen(
            ["chromedriver", f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        options = {
            "binary": next(path for path in map(shutil.which, BROWSERS) if path),
            "args": [*FLAGS, f"--user-data-dir={profile}"],
        }
        wanted = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
        try:
            self._wait()
            answer = self._send("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})
        except BaseException:
            self._driver.kill()
            raise
        self._session = f"/session/{answer['sessionId']}"

    def __enter__(self) -> "Browser":
        return self

    def __exit__(self, *exception: object) -> None:
        try:
            self._send("DELETE", self._session)
        finally:
            self._driver.terminate()
            self._driver.wait()

    def open(self, path: str | os.PathLike[str], width: int = 1200) -> None:
        """Show a file in a window of that width."""
        rect = {"width": width, "height": 900}
        self.command("POST", "/window/rect", rect)
        self.command("POST", "/url", {"url": f"file://{os.path.abspath(path)}"})

    def run(self, script: str, *arguments: Any) -> Any:
        """What a script returns."""
        return self.command("POST", "/execute/sync", {"script": script, "args": list(arguments)})

    def click(self, selector: str) -> None:
        """Click an element as a user does: it must be visible."""
        self.command("POST", f"/element/{self._find(selector)}/click", {})

    def type(self, selector: str, text: str) -> None:
        """Focus an element and press keys; \\ue007 is Enter."""
        self.command("POST", f"/element/{self._find(selector)}/value", {"text": text})

    def press(self, key: str) -> None:
        """Press a key wherever the focus is; \\ue004 is Tab."""
        actions = [{"type": kind, "value": key} for kind in ("keyDown", "keyUp")]
        self.command("POST", "/actions", {"actions": [{"type": "key", "id": "keyboard", "actions": actions}]})

    def log(self) -> list[str]:
        """Messages of the console since the last call."""
        return [entry["message"] for entry in self.command("POST", "/se/log", {"type": "browser"})]

    def devtools(self, name: str, **parameters: Any) -> Any:
        """A command of the DevTools protocol."""
        return self.command("POST", "/goog/cdp/execute", {"cmd": name, "params": parameters})

    def command(self, method: str, path: str, body: Any = None) -> Any:
        """A WebDriver command of this session; raises RuntimeError with the driver's words."""
        return self._send(method, self._session + path, body)

    def _find(self, selector: str) -> str:
        return str(self.command("POST", "/element", {"using": "css selector", "value": selector})[ELEMENT])

    def _wait(self) -> None:
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            try:
                if self._send("GET", "/status")["ready"]:
                    return
            except (urllib.error.URLError, ConnectionError):
                time.sleep(0.05)
        raise RuntimeError(f"chromedriver did not start within {PATIENCE:g} s")

    def _send(self, method: str, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            self._url + path, data=data, method=method, headers={"Content-Type": "application/json"}
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a proxy must not see 127.0.0.1
        try:
            with opener.open(request, timeout=PATIENCE) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            raise RuntimeError(f"{method} {path}: {json.load(error)['value']['message']}") from None
