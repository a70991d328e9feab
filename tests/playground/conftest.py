"""The playground in a browser: whatever it asks for, or complains of, fails the test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from browser_support import chromium, until
from playwright.sync_api import Browser, Page

from adamas import playground


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("playground") / "page.html"
    path.write_text(playground.page(), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def watched(browser: Browser) -> Iterator[Callable[..., Page]]:
    """Makes pages; what they ask for and say is kept in their attributes `asked` and `said`."""
    pages = []

    def made(**options: Any) -> Page:
        page = browser.new_page(**options)
        page.asked, page.said = set(), []  # type: ignore[attr-defined]
        page.on("request", lambda request: page.asked.add(request.url))  # type: ignore[attr-defined]
        page.on("console", lambda message: page.said.append(message.text))  # type: ignore[attr-defined]
        page.on("pageerror", lambda error: page.said.append(str(error)))  # type: ignore[attr-defined]
        pages.append(page)
        return page

    yield made
    for page in pages:
        page.close()


@pytest.fixture(scope="module")
def desk(watched: Callable[..., Page], written: Path) -> Page:
    """One page that most tests share: to load it takes longer than they do."""
    page = watched(viewport={"width": 1280, "height": 900})
    page.goto(written.as_uri())
    return page


@pytest.fixture
def open_page(desk: Page, watched: Callable[..., Page], written: Path) -> Iterator[Callable[..., Page]]:
    """Opens an address, in the shared page or in a new one with these options."""
    used = [desk]

    def opened(
        view: str, path: Path = written, fresh: bool = False, run: bool = True, **options: Any
    ) -> Page:
        address = path.as_uri() + (f"#{view}" if view else "")
        if fresh or options or path != written:
            used.append(page := watched(**{"viewport": {"width": 1280, "height": 900}, **options}))
            page.goto(address)
        else:
            page = desk
            # A busy machine is no loop without end.
            page.evaluate("void (Runner.prototype.patience = 60000)")
            page.evaluate(
                "(view) => { open(`#${view}`); scrollTo(0, 0); document.activeElement.blur(); }", view
            )
        if run:
            until(page, "state.lanes.every((each) => each.run && !each.busy)")
        return page

    yield opened
    for page in used:
        assert all(url.startswith(("file:", "blob:")) for url in page.asked)  # type: ignore[attr-defined]
        assert page.said == []  # type: ignore[attr-defined]
    for page in used[1:]:
        page.close()
