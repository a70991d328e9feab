"""Rules that a visitor types in, that an address brings, and that Python adds to the page."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path

import pytest
from browser_support import until
from playground_support import TWO, Open, lanes, settled
from playwright.sync_api import Page, expect

from adamas import playground
from adamas.backends.javascript import emit
from adamas.rules import SIGNED, AMSGrad, Lion, Rule

HALVING = """{
  name: "Halving",
  hyperparameters: { part: 0.5 },
  slots: { taken: { initial: 0, signed: true } },
  scalars: (h) => [h.part],
  update: (p, g, taken, part) => [p * part, taken + 1],
}"""


def run_own(page: Page, text: str) -> None:
    page.get_by_label("Text of the rule").fill(text)
    page.get_by_role("button", name="Run this rule").click()


def test_a_rule_typed_in_runs_and_is_shared(open_page: Open) -> None:
    page = open_page(TWO)
    run_own(page, HALVING)
    expect(page.locator("#own-said")).to_contain_text("Halving runs")
    expect(page.locator(".lane")).to_have_count(3)
    settled(page)
    assert lanes(page)[2]["path"][:6] == [-2, 1.1, -1, 0.55, -0.5, 0.275]
    expect(page.get_by_role("slider", name="part (part) of rule C")).to_be_visible()
    assert "own=" in page.evaluate("written(state)")
    open_page(TWO)
    assert page.get_by_label("Text of the rule").input_value() == HALVING
    page.get_by_label("Rule B", exact=True).first.get_by_role("combobox").first.select_option(
        label="Halving (typed here)"
    )
    settled(page)
    assert lanes(page)[1]["path"][:6] == [-2, 1.1, -1, 0.55, -0.5, 0.275]


def test_an_address_with_a_rule_shows_it_and_runs_nothing(open_page: Open) -> None:
    page = open_page(TWO)
    run_own(page, HALVING)
    expect(page.locator(".lane")).to_have_count(3)
    settled(page)
    address, path = page.evaluate("written(state)"), lanes(page)[2]["path"]
    other = open_page(address, fresh=True, run=False)
    expect(other.locator("#stranger")).to_be_visible()
    assert other.get_by_label("Text of the rule").input_value() == HALVING
    expect(other.locator(".lane .said").nth(2)).to_contain_text("Not run")
    expect(other.locator(".lane .said").nth(0)).to_contain_text("f − f*")
    for name in ("Step", "Reset", "Play"):
        other.get_by_role("button", name=name).click()
    assert other.evaluate("[...runners.keys()].some((text) => text.includes('Halving'))") is False
    other.get_by_role("button", name="Run this rule").click()
    expect(other.locator("#stranger")).to_be_hidden()
    until(other, "state.lanes[2].run")
    assert lanes(other)[2]["path"] == path


def test_another_text_from_an_address_is_not_run_in_the_place_of_the_one_that_was(open_page: Open) -> None:
    page = open_page(TWO)
    run_own(page, HALVING)
    expect(page.locator("#own-said")).to_contain_text("Halving runs")
    own = base64.urlsafe_b64encode(HALVING.replace("Halving", "Stranger").encode()).decode().rstrip("=")
    open_page(f"{TWO}&rule=your%20own&own={own}", run=False)
    expect(page.locator(".lane .said").nth(2)).to_contain_text("Not run")
    expect(page.locator("#stranger")).to_be_visible()
    assert page.evaluate("[...runners.keys()].some((text) => text.includes('Stranger'))") is False


def test_a_text_to_begin_with_is_chosen(open_page: Open) -> None:
    page = open_page(TWO)
    page.get_by_label("Begin with the text of").select_option("Lion")
    assert page.get_by_label("Text of the rule").input_value() == emit(Lion)


def test_a_text_in_an_address_is_no_markup(open_page: Open) -> None:
    text = '{ name: "<img src=x onerror=alert(1)>", </textarea><script>window.hurt = 1</script> }'
    own = base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")
    page = open_page(f"{TWO}&rule=your%20own&own={own}", run=False)
    assert page.get_by_label("Text of the rule").input_value() == text
    assert page.evaluate("window.hurt") is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{ name: 'x', scalars: () => [", "SyntaxError"),
        ("({})", "a rule has a function scalars"),
        ("{\n scalars: () => [],\n update: nobody }", "nobody is not defined (line 3)"),
        (
            "{ scalars: () => [], update: (p) => [p], hyperparameters: { lr: 'a' } }",
            "hyperparameters are numbers",
        ),
    ],
)
def test_a_mistake_is_told_and_the_page_goes_on(open_page: Open, text: str, expected: str) -> None:
    page = open_page(TWO)
    run_own(page, text)
    expect(page.locator("#own-said")).to_contain_text(expected)
    expect(page.locator(".lane")).to_have_count(2)


@pytest.mark.parametrize(
    ("update", "expected"),
    [
        ("(p) => { while (true); }", "a loop without end?"),
        ("(p, g) => { throw new Error('as you wish') }", "as you wish"),
        ("(p) => p", "update must return an array"),
    ],
)
def test_a_rule_that_fails_harms_nothing_else(open_page: Open, update: str, expected: str) -> None:
    page = open_page(TWO)
    if "while" in update:
        page.evaluate("void (Runner.prototype.patience = 400)")
    run_own(page, f"{{ scalars: () => [], update: {update} }}")
    expect(page.locator(".lane .said").nth(2)).to_contain_text(expected)
    assert page.locator(".lane .said").nth(2).evaluate("(each) => each.classList.contains('bad')")
    page.get_by_role("button", name="Step").click()
    expect(page.locator("#time-shown")).to_have_text("t = 41 of")
    assert lanes(page)[0]["path"]


def test_a_rule_is_under_the_policy_of_the_page(open_page: Open) -> None:
    """The policy of the page is that of its workers; an attempt would be told on the console."""
    page = open_page(TWO)
    policy = str(page.locator("meta[http-equiv]").get_attribute("content"))
    assert "default-src 'none'" in policy
    assert "connect-src" not in policy
    name = "(() => { try { return eval('1') } catch (error) { return error.name } })()"
    text = f"{{ scalars: () => [], update: () => [], name: {name} }}"
    assert page.evaluate("(text) => runner(text).ask(null).then((known) => known.name)", text) == "EvalError"
    page.said.clear()  # type: ignore[attr-defined]


# Rules from Python.


@dataclass(frozen=True)
class Drift(Rule):
    lr: float = 0.25
    slots = {"b": SIGNED}

    def scalars(self, t):
        return (self.lr,)

    @staticmethod
    def update(p, g, b, lr):
        return p - lr, b


@dataclass(frozen=True)
class Adams(AMSGrad):
    lr: float = 0.5


Adams.__name__ = "Adam"


def test_rules_of_ones_own_come_first(open_page: Open, tmp_path: Path) -> None:
    path = tmp_path / "own.html"
    path.write_text(playground.page(rules=[Drift, Drift(lr=0.125), Adams]), encoding="utf-8")
    page = open_page("", path=path)
    found = lanes(page)
    assert [lane["rule"] for lane in found] == ["Drift", "Drift 2", "Adam (yours)", "Adam"]
    assert [found[0]["path"][2], found[1]["path"][2]] == [-2.25, -2.125]
    assert page.get_by_label("Text of the rule").input_value() == emit(Drift)
