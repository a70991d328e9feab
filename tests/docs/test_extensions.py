"""What the site is built from: formulas, lines of kernels, one record of measurements."""

import inspect
import re
import textwrap
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest

import adamas.torch
from adamas.rules import SIGNED, Adam, Rule, xp
from adamas.rules._found import rule_classes
from adamas.torch.arguments import TORCH_ARGUMENTS

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(find_spec("sphinx") is None, reason="sphinx is not installed: the extra docs")


@pytest.fixture(autouse=True)
def extensions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "docs" / "_ext")


@dataclass(frozen=True)
class Newcomer(Rule):
    lr: float = 1e-3
    beta: float = 0.9
    slots = {"m": SIGNED}

    def scalars(self, t):  # type: ignore[no-untyped-def]
        return self.lr, self.beta

    @staticmethod
    def update(p, g, m, lr, beta):  # type: ignore[no-untyped-def]
        m = beta * m + g
        return p - lr * xp.sign(m * m), m


def test_a_formula_follows_the_source() -> None:
    from formula import formula_lines

    assert formula_lines(Newcomer()) == [
        ("m_{t}", r"\beta \, m_{t-1} + g_t"),
        (r"\theta_t", r"\theta_{t-1} - \alpha \, \mathrm{sign}(m_{t}^{2})"),
    ]


def test_adams_formula_is_the_papers() -> None:
    from formula import formula_lines

    lines = dict(formula_lines(Adam()))
    assert lines["m_{t}"] == r"\beta_1 \, m_{t-1} + (1 - \beta_1) \, g_t"
    assert lines["v_{t}"] == r"\beta_2 \, v_{t-1} + (1 - \beta_2) \, g_t^{2}"
    assert lines[r"\theta_t"] == r"\theta_{t-1} - \frac{\alpha_{t} \, m_{t}}{\sqrt{v_{t}} + \varepsilon_{t}}"


@pytest.mark.parametrize("name", rule_classes())
def test_every_option_of_a_rule_has_a_formula_that_browsers_draw(name: str) -> None:
    from formula import formula_of
    from latex2mathml.converter import convert
    from rule_pages import variants

    rule = rule_classes()[name]()
    for each in [rule, *(other for _, other in variants(rule))]:
        drawn = convert(formula_of(each), display="block")
        assert drawn.startswith("<math")
        assert "<mi>&</mi>" not in drawn


def test_lines_of_a_kernel_that_are_no_more_are_an_error() -> None:
    from directives import lines_between

    assert lines_between("a\n  b\n    c\nd", "b", "c") == "b\n  c"
    for first, last in (("x", "c"), ("c", "b")):
        with pytest.raises(ValueError, match="the kernel has no line with"):
            lines_between("a\n  b\n    c\nd", first, last)


def test_the_readme_shows_the_record() -> None:
    from measured import read, readme_table

    assert readme_table(read(ROOT / "docs" / "measurements.json")) in (ROOT / "README.md").read_text("utf-8")


def test_every_rule_is_in_the_table_of_the_family() -> None:
    from measured import family_table, read

    record = read(ROOT / "docs" / "measurements.json")
    assert {row["rule"] for row in record["family"]["rows"]} >= set(rule_classes())
    lines = family_table(record).splitlines()
    assert sum(line.startswith("| ") for line in lines) == 1 + len(record["family"]["rows"])


def test_fences_become_directives() -> None:
    from docstrings import unfenced

    assert (
        unfenced("Text.\n\n```python\nx = 1\n```\n").rstrip() == "Text.\n\n.. code-block:: python\n\n   x = 1"
    )


def test_bars_are_those_of_absolute_values() -> None:
    from docstrings import barred

    text = "Adds to |g|, `|g|`.\n\n.. math::\n    |g|\n\nAnd |m|."
    assert barred(text) == text.replace("to |g|", r"to \|g\|").replace("|m|", r"\|m\|")


OPTIMIZERS = {
    name: cls
    for name in adamas.torch.__all__
    if inspect.isclass(cls := getattr(adamas.torch, name)) and issubclass(cls, adamas.torch.Adam.__mro__[1])
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_argument_of_an_optimizer_is_documented(name: str) -> None:
    cls = OPTIMIZERS[name]
    text = inspect.getdoc(cls) or ""
    missing = [
        each
        for each in inspect.signature(cls).parameters
        if f"{each}:" not in text and f"{each}," not in text
    ]
    assert missing == []


def test_no_argument_is_described_that_nobody_takes() -> None:
    taken = {each for cls in OPTIMIZERS.values() for each in inspect.signature(cls).parameters}
    assert set(TORCH_ARGUMENTS) - taken == set()


EXAMPLES = [path for path in sorted((ROOT / "src").rglob("*.py")) if "```python" in path.read_text("utf-8")]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.relative_to(ROOT / "src").as_posix())
def test_the_examples_of_docstrings_run(path: Path) -> None:
    for block in re.findall(r"```python\n(.*?)```", path.read_text("utf-8"), re.DOTALL):
        exec(compile(textwrap.dedent(block), str(path), "exec"), {"__name__": __name__})
