"""What a visitor does: drag, slide, play, share, type a rule in; by mouse, by keys, on a phone."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from browser_support import until
from playground_support import TWO, Open, lanes, settled
from playwright.sync_api import expect
from rule_cases import has_sums

from adamas import playground
from adamas.backends import reference
from adamas.rules import SGD, Adam
from adamas.rules._found import rule_classes


def test_a_path_is_that_of_the_reference(open_page: Open) -> None:
    page = open_page(TWO)
    rules = [Adam(lr=0.05), SGD(lr=0.008, momentum=0.9)]
    for rule, lane in zip(rules, lanes(page), strict=True):
        states = reference.trajectory(rule, np.array([-2, 1.1]), lambda t, p: p * np.array([1.0, 100.0]), 300)
        expected = np.concatenate([state.p for state in states])
        np.testing.assert_allclose(lane["path"], expected, rtol=1e-9, atol=1e-12)


def test_without_bias_correction_the_rule_is_the_one_without(open_page: Open) -> None:
    page = open_page(TWO)
    page.get_by_role("checkbox", name="bias correction").uncheck()
    settled(page)
    rule = Adam(lr=0.05, bias_correction=False)
    states = reference.trajectory(rule, np.array([-2, 1.1]), lambda t, p: p * np.array([1.0, 100.0]), 300)
    np.testing.assert_allclose(
        lanes(page)[0]["path"], np.concatenate([x.p for x in states]), rtol=1e-9, atol=1e-12
    )


def test_every_rule_runs_on_every_function(open_page: Open) -> None:
    page = open_page(TWO)
    ran = page.evaluate(
        """async () => {
          const found = {};
          for (const name of Object.keys(RULES)) for (const f of Object.keys(FUNCTIONS)) {
            const made = { ...lane(name, f) }, at = FUNCTIONS[f];
            const job = { f, start: at.start, noise: 0, seed: 1, steps: at.steps, h: made.h };
            const run = await runner(TEXTS[name][variant(made)]).ask(job);
            found[`${name} ${f}`] = [run.end, at.steps, run.value[0], Math.min(...run.value)];
          }
          return found;
        }"""
    )
    functions = [file.stem for file in (Path(playground.__file__).parent / "functions").glob("*.js")]
    assert {"quadratic", "rosenbrock", "beale", "saddle", "reddi"} <= {*functions}
    rules = [name for name, rule in rule_classes().items() if not has_sums(rule())]
    assert ran.keys() == {f"{rule} {f}" for rule in rules for f in functions}
    assert {run: it for run, it in ran.items() if not (it[0] == it[1] and it[3] < it[2])} == {}


def test_gradients_are_those_of_the_functions(open_page: Open) -> None:
    worst = open_page(TWO).evaluate(
        """() => Object.entries(FUNCTIONS).map(([name, f]) => {
          let worst = 0;
          for (const [a, b] of [[0.3, 0.7], [0.9, 0.1], [0.55, 0.45]]) {
            const between = ([low, high], part) => low + part * (high - low);
            const p = [between(f.view.x, a), between(f.view.y, b)];
            const g = [1, 2, 3].map((t) => f.gradient(p, t)), h = 1e-5;
            const slope = [0, 1].map((k) => (f.value(...p.map((x, j) => x + h * (j === k)))
              - f.value(...p.map((x, j) => x - h * (j === k)))) / (2 * h));
            const mean = [0, 1].map((k) => (g[0][k] + g[1][k] + g[2][k]) / 3);
            for (const k of [0, 1]) worst = Math.max(worst, Math.abs(mean[k] - slope[k]));
          }
          for (const best of f.best) worst = Math.max(worst, Math.abs(f.value(...best) - f.least));
          return worst;
        })"""
    )
    assert max(worst) < 1e-4


def test_where_adam_fails_amsgrad_does_not(open_page: Open) -> None:
    page = open_page(
        "f=reddi&steps=600&t=600&rule=Adam;lr=0.02;beta1=0;beta2=0.1&rule=AMSGrad;lr=0.02;beta1=0;beta2=0.1"
    )
    adam, amsgrad = (lane["path"][-2] for lane in lanes(page))
    assert adam > 0.9
    assert amsgrad < -0.8


def test_the_start_is_dragged_and_the_paths_follow(open_page: Open) -> None:
    page = open_page(TWO)
    before = lanes(page)
    box = page.locator("#plot .area").bounding_box()
    handle = page.locator("#handle").bounding_box()
    assert box is not None
    assert handle is not None
    page.mouse.move(handle["x"] + handle["width"] / 2, handle["y"] + handle["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.75 * box["width"], box["y"] + 0.25 * box["height"], steps=4)
    page.mouse.up()
    settled(page)
    for one, other in zip(before, lanes(page), strict=True):
        assert one["path"][:2] == [-2, 1.1]
        assert other["path"][:2] == pytest.approx([1.2, 0.75], abs=0.02)


def test_a_slider_changes_one_rule(open_page: Open) -> None:
    page = open_page(TWO)
    before = lanes(page)
    slider = page.get_by_role("slider", name="β₁ (beta1) of rule A")
    slider.focus()
    page.keyboard.press("Home")
    settled(page)
    after = lanes(page)
    assert [before[0]["h"]["beta1"], after[0]["h"]["beta1"]] == [0.9, 0]
    assert before[0]["path"] != after[0]["path"]
    assert before[1]["path"] == after[1]["path"]
    expect(page.get_by_label("β₁ (beta1) of rule A, as a number")).to_have_value("0")


def test_a_number_that_is_typed_is_taken_exactly(open_page: Open) -> None:
    page = open_page(TWO)
    box = page.get_by_label("α (lr) of rule A, as a number")
    box.fill("0.0123456")
    box.press("Enter")
    settled(page)
    assert lanes(page)[0]["h"]["lr"] == 0.0123456
    box.fill("fast")
    box.press("Enter")
    expect(box).to_have_value("0.0123456")


def test_momentum_of_zero_is_plain_descent(open_page: Open) -> None:
    page = open_page(TWO)
    box = page.get_by_label("μ (momentum) of rule B, as a number")
    box.fill("0")
    box.press("Enter")
    settled(page)
    p = np.array([-2, 1.1])
    for _ in range(300):
        p = p - 0.008 * p * np.array([1.0, 100.0])
    np.testing.assert_allclose(lanes(page)[1]["path"][-2:], p, rtol=1e-9, atol=1e-200)


def test_a_shared_address_shows_the_same(open_page: Open) -> None:
    page = open_page(TWO)
    page.locator("#noise").focus()
    page.keyboard.press("End")
    page.locator("#seed").fill("7")
    page.locator("#seed").press("Enter")
    page.get_by_role("checkbox", name="bias correction").uncheck()
    page.get_by_role("radio", name="y").check()
    page.get_by_role("button", name="Add a rule").click()
    settled(page)
    page.get_by_role("button", name="Share this view").click()
    address = page.locator("#link input").input_value().partition("#")[2]
    shown, text = lanes(page), page.evaluate("written(state)")
    assert len({lane["path"][-1] for lane in shown}) == 3
    other = open_page(address, fresh=True)
    assert lanes(other) == shown
    assert other.evaluate("written(state)") == text


def test_other_seeds_are_other_noise(open_page: Open) -> None:
    one, other, same = (lanes(open_page(f"{TWO}&noise=0.5&seed={seed}")) for seed in (1, 2, 1))
    assert one[0]["path"] != other[0]["path"]
    assert one == same


@pytest.mark.parametrize(
    "view",
    [
        "f=nowhere&at=1&steps=-3&t=x&noise=9&rule=Nobody;lr=1",
        "own=%%%&rule=your%20own",
        "rule=Adam;lr=NaN;beta1;__proto__=1;toString=2&rule=constructor",
        "%E0%A4%A&f=constructor&rule=%E0%A4%A",
    ],
)
def test_an_address_that_makes_no_sense_is_a_view_all_the_same(open_page: Open, view: str) -> None:
    page = open_page(view)
    assert lanes(page)[0]["path"]


def test_play_step_and_reset_by_keys(open_page: Open) -> None:
    page = open_page(TWO)
    time = page.locator("#time-shown")
    expect(time).to_have_text("t = 40 of")
    page.keyboard.press(".")
    expect(time).to_have_text("t = 41 of")
    page.keyboard.press(",")
    expect(time).to_have_text("t = 40 of")
    page.keyboard.press("r")
    expect(time).to_have_text("t = 0 of")
    page.keyboard.press("Space")
    expect(page.get_by_role("button", name="Pause")).to_be_visible()
    until(page, "state.t > 20")
    page.keyboard.press("Space")
    expect(page.get_by_role("button", name="Play")).to_be_visible()
    assert re.search(r"t=\d\d", page.evaluate("written(state)"))


def test_keys_move_the_start(open_page: Open) -> None:
    page = open_page(TWO)
    page.locator("#handle").focus()
    for key in ("ArrowRight", "ArrowRight", "Shift+ArrowUp"):
        page.keyboard.press(key)
    settled(page)
    assert lanes(page)[0]["path"][:2] == pytest.approx([-2 + 0.02 * 4.8, 1.1 + 0.1 * 3])
    assert "x −1.9" in str(page.locator("#handle").get_attribute("aria-valuetext"))


def test_the_charts_are_drawn_and_covered_up_to_the_step(open_page: Open) -> None:
    page = open_page(TWO)
    expect(page.locator(".chart .scatterlayer .js-line")).to_have_count(2 + 1 + 3 + 2)
    shapes = [line.get_attribute("d") for line in page.locator(".chart .scatterlayer .js-line").all()]
    assert all(shape and shape.startswith("M") for shape in shapes)
    cover = page.locator(".chart .cover").first
    left = cover.evaluate(
        "(each) => each.getBoundingClientRect().left - each.parentElement.getBoundingClientRect().left"
    )
    width = cover.evaluate("(each) => each.parentElement.clientWidth")
    assert left == pytest.approx(width * 40 / 300, abs=1)


def test_reduced_motion_plays_nothing(open_page: Open) -> None:
    page = open_page("", reduced_motion="reduce")
    expect(page.get_by_role("button", name="Play")).to_be_visible()
    page.get_by_role("button", name="Play").click()
    expect(page.locator("#time-shown")).to_have_text("t = 300 of")
    expect(page.get_by_role("button", name="Play")).to_be_visible()


def test_a_phone_scrolls_down_only(open_page: Open) -> None:
    page = open_page(TWO, viewport={"width": 390, "height": 844}, has_touch=True)
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        assert page.evaluate("document.documentElement.scrollWidth") == 390
    small = page.evaluate(
        "[...document.querySelectorAll('button, select')].map((each) => each.getBoundingClientRect().height)"
        ".filter((height) => height > 0 && height < 24)"
    )
    assert small == []
    box = page.locator("#plot .area").bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 4
    page.touchscreen.tap(x, y)
    settled(page)
    assert lanes(page)[0]["path"][:2] == pytest.approx([0, 0.75], abs=0.03)
    finger = page.context.new_cdp_session(page)
    for kind, points in (
        ("touchStart", [{"x": x, "y": y}]),
        ("touchMove", [{"x": x + 30, "y": y + 30}]),
        ("touchMove", [{"x": x, "y": y + box["height"] / 2}]),
        ("touchEnd", []),
    ):
        finger.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    settled(page)
    assert lanes(page)[0]["path"][:2] == pytest.approx([0, -0.75], abs=0.03)
    assert page.evaluate("scrollY") == 0
