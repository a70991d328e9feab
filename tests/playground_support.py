"""What tests of the playground share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from browser_support import until
from playwright.sync_api import Page, expect

Open = Callable[..., Page]
TWO = "f=quadratic&at=-2,1.1&steps=300&t=40&rule=Adam;lr=0.05&rule=SGD;lr=0.008;momentum=0.9"


def lanes(page: Page) -> list[dict[str, Any]]:
    """Rule and numbers of each lane, and its path, as the page has them."""
    expect(page.locator(".lane .said").last).not_to_have_text("…")
    found: list[dict[str, Any]] = page.evaluate(
        "state.lanes.map(({ rule, h, run: r }) => ({ rule, h, path: r && [...r.p.slice(0, 2 * r.end + 2)] }))"
    )
    return found


def settled(page: Page) -> None:
    until(page, "state.lanes.every((each) => !each.busy)")
