"""The documentation: every Python block runs, every page stands in the index, every link leads somewhere."""

import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
INDEX = ROOT / "docs" / "README.md"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]

BLOCK = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\(([^)#]+)(?:#[^)]*)?\)")

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def script_of(text: str) -> str:
    """The Python blocks of a page as one program, in which every line has the number it has on the page."""
    script = ""
    for block in BLOCK.finditer(text):
        line = text.count("\n", 0, block.start(1))
        script += "\n" * (line - script.count("\n")) + block[1]
    return script


def run(script: str, folder: Path) -> None:
    """A program in its own process, from a file, as `multiprocessing` needs it; a warning is an error."""
    path = folder / "page.py"
    path.write_text(script, encoding="utf-8")
    # Torch's ZeroRedundancyOptimizer imports what torch itself calls deprecated, under several messages; its
    # checkpoints say that a single process is one.
    filters = ["-W", "error", "-W", "ignore::DeprecationWarning:torch.jit._script"]
    filters += ["-W", "ignore:torch.distributed is disabled:UserWarning"]
    command = [sys.executable, *filters, str(path)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr


def links(page: Path) -> set[Path]:
    """The files that a page links to."""
    found = LINK.findall(page.read_text(encoding="utf-8"))
    return {(page.parent / link).resolve() for link in found if "://" not in link}


@pytest.mark.skipif(find_spec("torch") is None, reason="torch is not installed, and the pages use it")
@every_page
def test_every_block_runs(page: Path, tmp_path: Path) -> None:
    script = script_of(page.read_text(encoding="utf-8"))
    if not script:
        pytest.skip("no Python on this page")
    run(script, tmp_path)


# What the build of the site writes; that fails where a link into it leads nowhere.
BUILT = [INDEX.parent / name for name in ("api", "figures", "rules")]


@every_page
def test_every_link_leads_somewhere(page: Path) -> None:
    found = [link for link in sorted(links(page)) if not set(BUILT) & set(link.parents)]
    assert [link for link in found if not link.exists()] == []


def test_every_page_stands_in_the_index() -> None:
    assert set(PAGES[1:]) - links(INDEX) - {INDEX} == set()
    assert INDEX in links(PAGES[0])


@every_page
def test_every_python_block_is_seen(page: Path) -> None:
    """A block that is indented, or fenced as `py`, would be left out in silence."""
    text = page.read_text(encoding="utf-8")
    if (
        page.name == "integrations.md"
    ):  # blocks that need a trainer: tests/integrations/test_page.py runs them
        text = text.replace("```py\n", "```\n")
    assert len(re.findall(r"^\s*(?:```|~~~)\s*py", text, re.MULTILINE | re.IGNORECASE)) == len(
        BLOCK.findall(text)
    )


# What the tests above rely on.


def test_lines_keep_their_numbers() -> None:
    script = script_of("Text.\n\n```python\nx = 1\n```\n\n```sh\nmake\n```\n\n```python\nraise x\n```\n")
    assert script.splitlines() == ["", "", "", "x = 1", *[""] * 7, "raise x"]


@pytest.mark.parametrize(
    "second", ["assert x == 2", "import warnings\nwarnings.warn('old', DeprecationWarning)"]
)
def test_a_block_that_fails_or_warns_is_an_error(second: str, tmp_path: Path) -> None:
    page = "```python\nx = 1\n```\n\n```python\n{}\n```\n"
    run(script_of(page.format("assert x == 1")), tmp_path)
    with pytest.raises(AssertionError, match=r'page\.py", line [67]'):
        run(script_of(page.format(second)), tmp_path)
