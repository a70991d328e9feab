"""The page: what it says, and what it does in a browser."""

import json
import re
import shutil
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import get_args

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright
from typer.testing import CliRunner

from adamas.cli import app
from adamas.experiments import claims, figures, findings
from adamas.experiments.figures import counterexample
from adamas.experiments.records.store import Store
from adamas.experiments.reports import collect, html
from adamas.experiments.reports.html import _summary


class Parsed(HTMLParser):
    """Text, links, identifiers, headings and the data of charts."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.text = ""
        self.links: list[str] = []
        self.ids: set[str] = set()
        self.levels: list[int] = []
        self.scripts: list[str] = []
        self.inside = ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.inside = given.get("type") or tag if tag == "script" else tag
        self.links += [value for name in ("href", "src", "action") if (value := given.get(name))]
        self.ids |= {value for name, value in attrs if name == "id" and value}
        if re.fullmatch("h[1-6]", tag):
            self.levels.append(int(tag[1]))

    def handle_endtag(self, tag: str) -> None:
        self.inside = ""

    def handle_data(self, data: str) -> None:
        if self.inside == "application/json":
            self.scripts.append(data)
        elif self.inside not in ("script", "style"):
            self.text += data


def test_the_page_says_all_that_was_found(made: Path) -> None:
    text = " ".join(Parsed(made).text.split())
    for expected in (
        "Made up & <i>escaped</i>",
        "Adam & SGD are <b>alike</b>",
        "SGD Nesterov has 5.00 [5.00, 5.00] × the mean excess cost of Adam",
        "3 claims: 2 hold 0 hold here only partly 0 undecided 1 fail 0 not measured",
        "Mean excess cost: the mean over the epochs",
        "Our threshold: the paper says",
        "[1.71, 2.02]: the 95 % interval",
        "Undecided: a threshold lies within the interval",
        "Best of the grid: each optimizer is drawn at",
        "Log: on a logarithmic axis",
        "one is one",
        "1 = 1",
        "section 2",
        "SYNTHETIC",
        "Preset demo.",
        "The paper's proof of convergence (theorem 4.1) has a gap",
        "8 done, in 8 seconds",
        "images_softmax",
        "0.1, 0.2",
        "python",
    ):
        assert expected in text
    assert "raised an error" not in text


def test_a_claim_that_is_undecided_is_counted_shown_and_filtered(
    made_up: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_question = claims.Claim("open", "section 2", lambda _: claims.Measured("1 [0, 2] ×", "undecided"))
    monkeypatch.setattr(sys.modules["adamas.experiments.claims.one"], "CLAIM", open_question)
    done = CliRunner().invoke(app, ["reproduce", "all", "--results", str(made_up)], catch_exceptions=False)
    page = (made_up / "all-demo.html").read_text(encoding="utf-8")
    assert "1 undecided" in done.stdout
    assert '<span class="undecided" style="flex-grow: 1">' in page
    assert 'data-jump="undecided">1 undecided</a>' in page
    assert 'data-filter="undecided"' in page
    assert 'data-verdict="undecided"' in page


def luminance(color: str) -> float:
    """The relative luminance of WCAG 2 of "#rrggbb" or "#rgb"."""
    digits = color.removeprefix("#")
    parts = digits if len(digits) == 3 else [digits[place : place + 2] for place in (0, 2, 4)]
    shares = [int(2 * part if len(part) == 1 else part, 16) / 255 for part in parts]
    linear = [each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4 for each in shares]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_every_verdict_has_colours_of_its_own_that_can_be_read() -> None:
    style = (Path(html.__file__).parent / "style.css").read_text(encoding="utf-8")
    names = [verdict.split()[-1] for verdict in get_args(findings.Verdict)]
    badges = [
        re.search(rf"^\.{name} {{ background: (#\w+); color: (#\w+); }}$", style, re.M) for name in names
    ]
    bars = [re.search(rf"^\.bar \.{name} {{ background: (#\w+); }}$", style, re.M) for name in names]
    found = [match.groups() for match in [*badges, *bars] if match]
    assert len(found) == len({color for colors in found for color in colors[:1]}) == 2 * len(names)
    for back, ink in (colors for colors in found if len(colors) == 2):
        assert (luminance(back) + 0.05) / (luminance(ink) + 0.05) >= 4.5


def test_links_stay_on_the_disk_and_lead_somewhere(made: Path) -> None:
    parsed = Parsed(made)
    beside = [link for link in parsed.links if not link.startswith("#")]
    assert all((made.parent / link).is_file() for link in beside)
    assert {link[1:] for link in parsed.links if link.startswith("#")} <= parsed.ids
    records = [json.loads((made.parent / link).read_text()) for link in beside if link.startswith("runs/")]
    assert len(records) == 8
    assert {"counterexample-demo.png", "counterexample-demo.svg"} <= set(beside)


def test_headings_skip_no_level(made: Path) -> None:
    levels = Parsed(made).levels
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_a_chart_has_the_means_and_the_range_of_the_seeds(made: Path) -> None:
    script, _, _ = Parsed(made).scripts  # the last is of a claim made after the paper
    chart = json.loads(script)
    curves = {trace["name"]: trace for trace in chart["data"] if "name" in trace}
    assert curves.keys() == {"Adam, α = 0.1/√t", "SGD Nesterov, α = 1"}
    adam = curves["Adam, α = 0.1/√t"]
    assert (adam["x"], adam["y"]) == ([1, 2, 3], [3.5, 2.5, 1.5])
    assert adam["customdata"] == [[3, 4], [2, 3], [1, 2]]
    (band,) = (t for t in chart["data"] if "name" not in t and t["legendgroup"] == adam["legendgroup"])
    assert band["y"] == [3, 2, 1, 2, 3, 4]
    assert chart["layout"]["yaxis"]["type"] == "log"


def test_where_all_diverged_the_page_is_made_and_says_so(made_up: Path) -> None:
    for run in figures.load("counterexample").runs("demo"):
        Store(made_up).write(run.configuration(), {"status": "diverged", "epochs": [], "seconds": 1.0})
    done = CliRunner().invoke(
        app, ["reproduce", "counterexample", "--results", str(made_up)], catch_exceptions=False
    )
    assert done.exit_code == 0
    text = " ".join(Parsed(made_up / "counterexample-demo.html").text.split())
    assert "There is no finished run to draw" in text
    assert "8 diverged" in text
    assert "not measured" in text
    assert "one is one" not in text  # which is no claim of this figure


def test_streams_with_other_options_are_told_apart(tmp_path: Path) -> None:
    """So that the β's of a panel are not mixed with those of another."""
    figure = counterexample.FIGURE
    made = collect.Report("counterexample", "demo", figure, figure.runs("demo"), {})
    groups = _summary.summarize(made, Store(tmp_path), tmp_path).groups
    betas = [(group.name, group.common["rule beta1"], group.common["rule beta2"]) for group in groups]
    assert betas == [("rare", "0", "0.1"), ("rare", "0.25", "0.1"), ("rare", "0.9", "0.99")]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        pytest.skip("no Chromium is installed: apt-get install chromium")
    quiet = ("no-sandbox", "disable-gpu", "no-first-run", "disable-sync", "disable-component-update")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=program,
            args=[f"--{name}" for name in (*quiet, "disable-background-networking")],
        )
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser, made: Path) -> Iterator[Page]:
    """The page, opened as from a disk; whatever it asks for or complains of fails the test."""
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    asked: list[str] = []
    said: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(made.as_uri())
    expect(page.locator(".plot .scatterlayer .trace").first).to_be_attached()
    yield page
    page.close()
    assert set(asked) == {made.as_uri()}
    assert said == []


def test_the_chart_is_drawn(page: Page) -> None:
    lines = page.locator(".plot .scatterlayer .js-line")
    shapes = [shape for shape in (line.get_attribute("d") for line in lines.all()) if shape]
    assert all(re.match(r"M[\d.]+,[\d.]+", shape) for shape in shapes)
    assert len({*shapes}) >= 2
    chart = page.locator(".chart").first
    chart.locator(".nsewdrag").hover()
    row = chart.locator("label", has_text="SGD Nesterov, α = 1")
    expect(row.locator("output")).to_have_text("6.5 (seeds: 6 to 7)")
    expect(chart.locator(".at")).to_have_text("epoch 2")
    assert chart.locator(".hoverlayer .legend, .hoverlayer .hovertext").count() == 0  # nothing on the curves


def test_keys_alone_hide_a_curve_with_its_band_and_show_it_again(page: Page) -> None:
    page.keyboard.press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    page.keyboard.press("Enter")
    box = page.get_by_role("checkbox", name="Adam, α = 0.1/√t")
    for _ in range(20):
        if box.evaluate("box => box === document.activeElement"):
            break
        page.keyboard.press("Tab")
    expect(box).to_be_focused()
    traces = page.locator(".chart").first.locator(".scatterlayer .trace")
    label = page.locator(".chart").first.locator(".annotation-text", has_text="Adam")
    expect(traces).to_have_count(4)
    expect(label).to_have_count(1)
    page.keyboard.press("Space")
    expect(traces).to_have_count(2)
    expect(label).to_have_count(0)
    page.keyboard.press("Space")
    expect(traces).to_have_count(4)


def test_a_button_makes_an_axis_logarithmic_and_linear_again(page: Page) -> None:
    for name, axis, log in (("Log y axis", "yaxis", True), ("Log x axis", "xaxis", False)):
        button = page.get_by_role("button", name=name).first
        for pressed in (log, not log, log):
            expect(button).to_have_attribute("aria-pressed", str(pressed).lower())
            kind = page.evaluate(f"document.querySelector('.plot').layout.{axis}.type")
            assert kind == ("log" if pressed else "linear")
            button.focus()
            page.keyboard.press("Enter")


@pytest.mark.parametrize("width", [360, 1280])
def test_nothing_is_wider_than_the_screen(page: Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 740})
    page.reload()
    expect(page.locator(".chart").first.locator(".scatterlayer .trace")).to_have_count(4)
    page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth") == width


def test_the_page_opens_with_the_first_figure_below_the_bar_of_verdicts(page: Page) -> None:
    tops = [page.locator(each).bounding_box()["y"] for each in (".bar", "#counterexample", "#claims")]  # type: ignore[index]
    assert tops == sorted(tops)
    assert tops[1] < 800
    widths = [span.bounding_box()["width"] for span in page.locator(".bar span").all()]  # type: ignore[index]
    assert widths[0] == pytest.approx(2 * widths[1], rel=0.05)  # 2 hold, 1 fails


def test_claims_are_filtered_by_verdict(page: Page) -> None:
    shown = page.locator("#claims .claim:visible")
    expect(shown).to_have_count(3)
    fails = page.get_by_role("button", name="fails")
    fails.click()
    expect(shown).to_have_count(1)
    expect(shown.locator(".badge")).to_have_text("fails")
    expect(fails).to_have_attribute("aria-pressed", "true")
    fails.click()
    expect(shown).to_have_count(3)
    page.locator(".verdicts a", has_text="2 hold").click()
    expect(shown).to_have_count(2)


def test_a_claim_is_one_line_that_opens_and_a_link_to_it_opens_it(page: Page) -> None:
    first = page.locator(".claim").first
    measured = first.get_by_text("the mean excess cost of Adam")
    expect(measured).to_be_hidden()
    assert first.bounding_box()["height"] < 50  # type: ignore[index]
    first.locator("summary").click()
    expect(measured).to_be_visible()
    page.locator(".files a[href='#claim-2']").click()
    expect(page.locator("#claim-2")).to_have_attribute("open", "")


def test_a_claim_made_after_the_paper_opens_with_its_numbers_and_its_chart(page: Page) -> None:
    claim = page.locator("#after-late")
    assert claim.bounding_box()["height"] < 50  # type: ignore[index]
    expect(claim.locator("summary")).to_contain_text("x is a half (not read in its source)")
    expect(claim.locator(".badge")).to_have_text("holds")
    claim.locator("summary").click()
    for text in ("0.51 is near ½", "Nobody 2030"):
        expect(claim.get_by_text(text)).to_be_visible()
    expect(claim.locator("code:visible")).to_have_text("x = ½ <x>")
    assert claim.locator("tbody tr").all_inner_texts() == ["x\t0.5\t0.51", "y\t-\t7"]
    expect(claim.locator(".scatterlayer .trace")).to_have_count(1)
    # It was drawn when there was room for it.
    plot, box = (claim.locator(each).bounding_box() for each in (".main-svg >> nth=0", ".chart"))
    assert plot is not None
    assert box is not None
    assert plot["width"] == pytest.approx(box["width"], abs=2)
    claim.locator("summary").click()
    claim.locator("summary").click()
    expect(claim.locator(".scatterlayer .trace")).to_have_count(1)


def test_a_verdict_asked_for_leaves_the_claims_made_after_the_paper(page: Page) -> None:
    page.get_by_role("button", name="fails").click()
    expect(page.locator("#after .claim")).to_be_visible()


def test_a_page_of_one_figure_has_no_claims_made_after_the_paper(made_up: Path) -> None:
    done = CliRunner().invoke(app, ["reproduce", "counterexample", "--results", str(made_up)])
    assert done.exit_code == 0
    assert "after" not in Parsed(made_up / "counterexample-demo.html").ids


def test_nothing_is_said_twice(made: Path) -> None:
    text = " ".join(Parsed(made).text.split())
    for said in ("Adam & SGD are <b>alike</b>", "SGD is slower", "one is one", "1 = 1", "x is a half"):
        assert text.count(said) == 1


def test_the_sweep_over_alpha_is_shown(page: Page) -> None:
    sweep = page.locator(".chart").nth(1)
    expect(sweep.locator(".xtitle")).to_have_text("stepsize α")
    expect(sweep.locator("label")).to_have_count(2)


def test_the_linear_view_and_back(page: Page) -> None:
    button = page.get_by_role("button", name="Linear axes")
    kind = "document.querySelector('.plot').layout.yaxis.type"
    for pressed, expected in ((True, "linear"), (False, "log")):
        button.click()
        expect(button).to_have_attribute("aria-pressed", str(pressed).lower())
        assert page.evaluate(kind) == expected


def test_on_a_phone_tables_are_stacked_and_no_cell_is_hidden(page: Page) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    page.reload()
    page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
    cells = page.locator("tbody td, tbody th")
    assert cells.count() > 4
    for cell in cells.all():
        box = cell.bounding_box()
        assert box is not None
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 390
    names = page.evaluate(
        "[...document.querySelectorAll('td')].map(each => getComputedStyle(each, '::before').content)"
    )
    assert all(name not in ("none", '""') for name in names)


def test_no_table_has_an_empty_column_or_cell_of_configuration(made: Path) -> None:
    html = made.read_text()
    assert "remarks" in html
    assert not re.search(r"<dd>\s*-?\s*</dd>", html)
