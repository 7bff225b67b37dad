"""Take docs/serving.png: the page of a service after a question, in a small file.

Needs chromium, pngquant and Playwright: python docs/serving_picture.py URL
"""

import shutil
import subprocess
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

_PICTURE = Path(__file__).with_name("serving.png")
_QUESTION = "Where was Karek Bremlock born?"
_MAY_TAKE_MS = 120_000


def take_picture(url: str) -> None:
    """Ask a question on the page of a service, and take a picture of what it shows."""
    with sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        page = browser.new_page(viewport={"width": 1000, "height": 905})
        page.set_default_timeout(_MAY_TAKE_MS)
        page.goto(url)
        page.locator("#encoded tr").first.wait_for()
        page.get_by_label("Question", exact=True).fill(_QUESTION)
        page.keyboard.press("Enter")
        page.locator(".document").first.wait_for()
        page.locator("h1").click()
        page.screenshot(path=_PICTURE)
        browser.close()
    subprocess.run(["pngquant", "--force", "--output", _PICTURE, "64", _PICTURE], check=True)


if __name__ == "__main__":
    take_picture(sys.argv[1])
