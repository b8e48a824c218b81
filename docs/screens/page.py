"""Take the pictures of the server's page: a real browser, a real answer of the built-in model.

    python docs/screens/page.py

Needs Chromium with its driver, and the extra ``test``. Writes page-light.png and page-dark.png.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from selenium.webdriver import Chrome, Keys  # noqa: E402
from support.browser import browser, drop  # noqa: E402

SECONDS = 60
WIDTH, HEIGHT = 760, 860


def main() -> None:
    command = [sys.executable, "-m", "gemma4cli", "serve", "-m", "tiny", "--port", "0"]
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        assert server.stderr is not None
        url = next(
            word for line in server.stderr for word in line.split() if word.startswith("http://")
        )
        url = url.rstrip("/.,").removesuffix("/v1")
        with tempfile.TemporaryDirectory() as folder, browser(Path(folder)) as driven:
            driven.set_window_size(WIDTH, HEIGHT)
            converse(driven, url)
            for scheme in ("light", "dark"):
                features = [{"name": "prefers-color-scheme", "value": scheme}]
                driven.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
                driven.save_screenshot(str(HERE / f"page-{scheme}.png"))
    finally:
        server.terminate()
        server.wait(SECONDS)


def converse(driven: Chrome, url: str) -> None:
    """Ask about a dropped picture, then once more."""
    driven.get(url)
    wait(driven, "return document.title !== 'g4'")
    driven.execute_script("sessionStorage.setItem('g4 temperature', '0'); location.reload()")
    wait(driven, "return document.title !== 'g4'")
    for number, question in enumerate(("Describe this image.", "How many objects are there?")):
        if number == 0:
            drop(driven, ROOT / "fixtures" / "samples" / "image01.png")
            wait(driven, "return document.querySelector('#attached img')?.complete")
        driven.find_element("id", "question").send_keys(question + Keys.ENTER)
        wait(driven, f"return document.querySelectorAll('.actions').length === {number + 1}")
    driven.execute_script("document.getElementById('log').scrollTop = 0")


def wait(driven: Chrome, condition: str) -> None:
    until = time.monotonic() + SECONDS
    while not driven.execute_script(condition):
        if time.monotonic() > until:
            sys.exit(f"never: {condition}")
        time.sleep(0.05)


main()
