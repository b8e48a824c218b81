"""Chromium without a window, driven by its own driver; both come from Debian's packages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from shutil import which

import pytest
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service

_SECONDS = 30
_DROP = """
const [target, input] = arguments, data = new DataTransfer();
for (const file of input.files) data.items.add(file);
for (const name of ["dragenter", "dragover", "drop"])
  target.dispatchEvent(new DragEvent(name, {dataTransfer: data, bubbles: true, cancelable: true}));
input.remove();
"""


@contextmanager
def browser(downloads: Path, arguments: Sequence[str] = ()) -> Iterator[Chrome]:
    """A browser that saves files in a folder. Skips the test where there is no Chromium."""
    chromium, driver = which("chromium"), which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("needs chromium and chromium-driver")
    options = ChromeOptions()
    options.binary_location = chromium
    for each in (
        "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
        "--window-size=900,800", "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream", *arguments,
    ):  # fmt: skip
        options.add_argument(each)
    options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driven = Chrome(options=options, service=Service(driver))
    driven.set_page_load_timeout(_SECONDS)
    driven.set_script_timeout(_SECONDS)
    try:
        yield driven
    finally:
        driven.quit()


def drop(driven: Chrome, *files: Path) -> None:
    """Drop files on the page, as from a folder's window."""
    script = "const i = document.createElement('input'); i.type = 'file'; i.multiple = true;"
    field = driven.execute_script(f"{script} document.body.append(i); return i;")  # type: ignore[no-untyped-call]
    field.send_keys("\n".join(map(str, files)))
    driven.execute_script(_DROP, driven.find_element("tag name", "main"), field)  # type: ignore[no-untyped-call]
