"""The Chromium of the system."""

import shutil
from contextlib import contextmanager

from needs import needs

playwright = needs("playwright.sync_api")


@contextmanager
def browser():
    """A browser that runs while the block does."""
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    assert path, "these tests need Chromium: apt-get install chromium"
    with playwright.sync_playwright() as started:
        running = started.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield running
        running.close()
