"""Chromium, for the tests of pages. A process can have one at a time: no fixture of it outlives a module."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

_QUIET = ("no-sandbox", "disable-gpu", "no-first-run", "disable-sync", "disable-component-update")


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """A browser; a test that asks for one is skipped where none is installed."""
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        pytest.skip("no Chromium is installed: apt-get install chromium")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=program,
            args=[f"--{name}" for name in (*_QUIET, "disable-background-networking")],
        )
        yield browser
        browser.close()


def until(page: Page, condition: str) -> None:
    """Wait for a condition of JavaScript; Playwright's own way needs `eval`, which pages forbid."""
    page.evaluate(
        f"""async () => {{
          const end = performance.now() + 10000;
          while (!({condition}) && performance.now() < end) await new Promise((done) => setTimeout(done, 10));
        }}"""
    )
    assert page.evaluate(f"() => Boolean({condition})"), condition
