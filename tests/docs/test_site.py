"""The site: it builds offline without a warning, asks no network when read, and agrees with the code."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from browser_support import chromium
from playwright.sync_api import Browser

from adamas.rules._found import rule_classes

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("sphinx") is None, reason="sphinx is not installed: the extra docs"),
]

# A way out to another site that a browser takes unasked; a link that a reader may follow is none.
_LOADED = re.compile(
    r"<(?:script|img|iframe|source|video)\b[^>]*\bsrc=[\"']?(?:https?:)?//|@import|url\([\"']?(?:https?:)?//"
)
_STYLES = re.compile(r"<link\b(?=[^>]*rel=[\"']?(?:stylesheet|preload|icon))[^>]*href=[\"']?(?:https?:)?//")
READ = ["index", "rules/adam", "api/adamas.torch", "explain/epsilon", "measurements", "checkpoints"]


@pytest.fixture(scope="module")
def site() -> Path:
    """The site as `make docs` builds it, what did not change since kept."""
    target = ROOT / "build" / "docs"
    options = [
        "--fail-on-warning",
        "--nitpicky",
        "--quiet",
        "--doctree-dir",
        str(ROOT / "build" / "doctrees"),
    ]
    # No proxy leads anywhere: a build that asks the network fails.
    environment = os.environ | {f"{kind}_proxy": "http://127.0.0.1:9" for kind in ("http", "https")}
    command = [sys.executable, "-m", "sphinx", "--builder", "html", *options, str(DOCS), str(target)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    return target


@pytest.fixture(scope="module")
def browser(site: Path) -> Iterator[Browser]:
    with chromium() as found:
        yield found


def test_no_page_loads_anything_from_elsewhere(site: Path) -> None:
    found = {
        str(page.relative_to(site)): match[0]
        for page in site.rglob("*.html")
        if (match := _LOADED.search(text := page.read_text(encoding="utf-8")) or _STYLES.search(text))
    }
    assert found == {}


def test_every_rule_has_its_page(site: Path) -> None:
    for name, rule in rule_classes().items():
        page = (site / "rules" / f"{name.lower()}.html").read_text(encoding="utf-8")
        assert page.count("<math") >= 1
        assert "numba" in page
        assert ("(Triton)" in page) != ("No kernel of Triton" in page), name
        reduction = rule().form().reduction
        assert ("No kernel of Triton" in page) == (reduction is not None and reduction.scope == "row"), name
        assert (site / "_images" / f"rule-{name.lower()}.svg").exists()


@pytest.mark.parametrize("width", [390, 1440])
def test_pages_ask_no_network_complain_of_nothing_and_fit(browser: Browser, site: Path, width: int) -> None:
    page = browser.new_page(viewport={"width": width, "height": 900})
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on(
        "request",
        lambda asked: None if asked.url.startswith(("file:", "data:", "blob:")) else said.append(asked.url),
    )
    for name in READ:
        page.goto((site / f"{name}.html").as_uri())
        page.wait_for_load_state()
        assert page.evaluate("document.documentElement.scrollWidth") <= width, name
    assert said == []
    page.close()
