"""`adamas play`, and the page as Python makes it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from rule_cases import has_sums
from typer.testing import CliRunner

from adamas import playground
from adamas.backends import RuleSourceError
from adamas.cli import app
from adamas.playground._rules import variants
from adamas.rules import LAMB, RMSprop
from adamas.rules._found import rule_classes

OWN = """
from __future__ import annotations

from dataclasses import dataclass

from adamas.rules import SIGNED, Rule, xp


@dataclass(frozen=True)
class Signs(Rule):
    lr: float = 0.01
    slots = {"m": SIGNED}

    def scalars(self, t):
        return (self.lr,)

    @staticmethod
    def update(p, g, m, lr):
        return p - lr * xp.sign(g), m
"""


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    found: list[str] = []
    monkeypatch.setattr("webbrowser.open", found.append)
    return found


def run(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["play", *arguments], catch_exceptions=False)
    return result.exit_code, result.stdout, result.stderr


def test_the_page_is_written_and_opened(tmp_path: Path, opened: list[str]) -> None:
    path = tmp_path / "play & learn.html"
    assert run("--output", str(path)) == (0, f"{path}\n", "")
    assert opened == [path.as_uri()]
    assert path.read_text(encoding="utf-8") == playground.page()


def test_rules_of_a_file_are_in_the_page(tmp_path: Path, opened: list[str]) -> None:
    file, path = tmp_path / "signs.py", tmp_path / "page.html"
    file.write_text(OWN, encoding="utf-8")
    assert run(str(file), "--no-open", "--output", str(path))[0] == 0
    assert opened == []
    assert 'const FIRST = ["Signs"];' in path.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "cannot be read"),
        ("x = 1", "has no rule"),
        ("x = (", "line 1: SyntaxError"),
        ("x = 1\nraise RuntimeError('no')", "line 2: RuntimeError: no"),
        (OWN.replace("(self.lr,)", "(self.lr if t > 2 else 0.0,)"), "Signs.scalars"),
        (OWN.replace("lr: float = 0.01", "lr: float"), "give every hyperparameter a default"),
    ],
)
def test_a_file_that_cannot_be_used_is_told_in_one_line(
    tmp_path: Path, opened: list[str], text: str | None, said: str
) -> None:
    file, path = tmp_path / "signs.py", tmp_path / "page.html"
    if text is not None:
        file.write_text(text, encoding="utf-8")
    code, out, error = run(str(file), "--output", str(path))
    assert (code, out, opened) == (2, "", [])
    assert said in error
    assert error.count("\n") == 1
    assert not path.exists()


def test_without_plotly_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "plotly.offline", None)
    code, _, error = run("--no-open", "--output", str(tmp_path / "page.html"))
    assert code == 2
    assert "adamas[play]" in error


def test_the_page_names_nothing_to_fetch() -> None:
    head, _, rest = playground.page().partition("</head>")
    assert "default-src 'none'" in head
    own = rest.partition("<script>")[0] + rest.rpartition('<script id="shared">')[2]
    assert "http" not in own.replace("http-equiv", "")
    assert "{{" not in own


def test_a_rule_that_cannot_become_javascript_raises() -> None:
    scope: dict[str, type] = {}
    exec(OWN.replace("from __future__ import annotations", "").replace("(self.lr,)", "(float(t),)"), scope)
    with pytest.raises(RuleSourceError, match="Signs"):
        playground.page(rules=[scope["Signs"]])


@pytest.mark.parametrize("name", [name for name, rule in rule_classes().items() if not has_sums(rule())])
def test_a_page_can_choose_among_all_options(name: str) -> None:
    """Each combination of bools and choices has a text, and each branch on a number has one."""
    texts = variants(rule_classes()[name]())
    assert len(set(texts)) == len(texts)
    if name == "RMSprop":
        assert len(texts) == 4
        assert sum("centered: true" in text for text in texts) == 2
        assert sum("momentum > 0;" in text for text in texts) == 2


def test_a_rule_with_sums_says_that_the_page_has_none() -> None:
    with pytest.raises(RuleSourceError, match="LAMB needs sums over a tensor"):
        playground.page(rules=[LAMB])


def test_the_first_text_is_that_of_the_rule_as_it_is() -> None:
    first = variants(RMSprop(centered=True, momentum=0.75))[0]
    assert "centered: true" in first
    assert "momentum: 0.75" in first
