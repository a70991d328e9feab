"""A report on a step that was measured: rows, JSON, a table of 80 columns, and a page."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas
import pytest
import torch
from browser_support import chromium
from panel_support import FAULTS
from playwright.sync_api import Browser
from state_support import FORMATS, fits
from torch import nn
from torch_support import OPTIMIZERS, Make, assorted, everything, give_gradients, leaf, randn, simple, train

from adamas.torch import SGD, Adam, AdamW, groups
from adamas.torch.report import Report
from adamas.torch.report.values import QUANTITIES

every_optimizer = pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(8)
        self.a_name_that_is_longer_than_most_names_that_are_given_to_modules = nn.Linear(8, 8)


def stack() -> nn.Sequential:
    return nn.Sequential(*(Block() for _ in range(12)))


def measured(model: nn.Module | None = None, steps: int = 3, **options: Any) -> Any:
    model = model or stack()
    opt = AdamW(groups(model, no_decay=True), **options)
    opt.watch(every=1, model=model)
    train(opt, list(model.parameters()), range(steps))
    return opt


# Values.


@every_optimizer
@pytest.mark.parametrize("format", [None, *FORMATS])
def test_bytes_are_those_of_the_state(make: Make, format: str | None) -> None:
    if format is not None and not fits(make, format):
        pytest.skip("refused for this rule")
    params = [*assorted(torch.float32), leaf(randn(64, 70)), leaf(randn(5000)), leaf(randn(64, 70).double())]
    opt: Any = make(params, state_format=format)
    before = opt.report()
    train(opt, params, [1])
    for p, param, again in zip(params, before.params, opt.report().params, strict=True):
        counters = ("step", "mu_product", "lr_max", "weight_sum")
        held = [
            x for key, x in opt.state.get(p, {}).items() if key not in counters and not key.endswith("_order")
        ]
        expected = sum(x.nbytes for x in held) if held else param.state_bytes
        order = 8 * p.dim() if any(key.endswith("_order") for key in opt.state.get(p, {})) else 0
        assert param.state_bytes == again.state_bytes
        assert abs(param.state_bytes - expected) <= 2 * order
        assert param.param_bytes == p.numel() * p.itemsize


@every_optimizer
def test_what_is_read_is_what_was_measured(make: Make) -> None:
    params = simple()
    opt: Any = make(params)
    opt.watch(every=3)
    train(opt, params, [1, 2, 3])
    there = opt.report()
    opt.watch(every=None)
    opt._measured = {}
    before = everything(opt)
    now = opt.report()
    assert everything(opt) == before
    assert now.step is None
    for seen, read in zip(there.params, now.params, strict=True):
        mine = read.quantities()
        known = {name for name, value in mine.items() if value is not None}
        assert {"param_norm"} <= known <= {"param_norm", "share_hidden", *QUANTITIES[6:11]}
        for name in known:
            assert mine[name] == pytest.approx(seen.quantities()[name], rel=1e-5)
        assert (read.signal is None) == (seen.signal is None)


def test_ratios_are_of_what_was_measured() -> None:
    p = leaf(torch.tensor([3.0, 4.0, 0.0, 0.0]))
    opt = SGD([p], lr=0.5)
    opt.watch(every=1)
    p.grad = torch.tensor([6.0, 0.0, 0.0, 2.0])
    opt.step()
    found = opt.report().params[0].quantities()
    norm = math.sqrt(17)  # of (0, 4, 0, -1)
    expected = {
        "grad_norm": math.sqrt(40),
        "param_norm": norm,
        "update_norm": math.sqrt(10),
        "update_ratio": math.sqrt(10) / norm,
        "step_rms": math.sqrt(10) / 0.5 / 2,
        "step_largest": 6.0,
        "share_unmoved": 0.0,
        "share_zero": 0.5,
        "nonfinite": 0,
    }
    assert {name: found[name] for name in expected} == pytest.approx(expected)
    assert {name for name, value in found.items() if value is not None} == set(expected)


def test_rows_are_flat_and_a_table_of_pandas() -> None:
    report = measured().report()
    assert all(isinstance(value, str | int | float | None) for row in report.rows for value in row.values())
    table = pandas.DataFrame(report.rows).set_index("name")
    assert list(table.index) == [param.label for param in report.params]
    assert set(QUANTITIES) <= set(table.columns)
    assert set(table[table.decay == "none"].weight_decay) == {0.0}
    assert (table.measured_at == 3).all()
    assert (table.total_bytes == table.param_bytes + table.state_bytes).all()


@pytest.mark.parametrize("kind", ["nonfinite", "missing"])
@pytest.mark.filterwarnings("ignore::adamas.torch.DiagnosisWarning")
def test_json_is_valid_and_whole(kind: str) -> None:
    report = FAULTS[kind](0).report()

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    found = json.loads(report.to_json(), parse_constant=refuse)
    assert [row["name"] for row in found["params"]] == [param.label for param in report.params]
    assert [each["kind"] for each in found["warnings"]] == [each.kind for each in report.warnings]
    assert found["first_nonfinite"] == ("first.weight" if kind == "nonfinite" else None)
    assert json.loads(report.to_json(indent=2)) == found


def test_steps_that_a_parameter_missed_are_counted() -> None:
    params = simple()
    opt = Adam(params)
    train(opt, params, [1])
    for seed in (2, 3):
        give_gradients(params[:1], seed)
        params[1].grad = None
        opt.step()
    late = leaf(randn(3))
    opt.add_param_group({"params": [late]})
    found = [(param.steps, param.behind, param.never_stepped) for param in opt.report().params]
    assert found == [(3, 0, False), (1, 2, False), (0, 3, True)]


def test_names_come_from_the_model_where_the_optimizer_has_none() -> None:
    model = stack()
    opt = Adam(model.parameters())
    assert opt.report().params[0].label == "#0"
    assert [param.name for param in opt.report(model).params] == [
        name for name, _ in model.named_parameters()
    ]
    with pytest.raises(TypeError, match="model must be"):
        opt.report(3)  # type: ignore[arg-type]


# The table.


@pytest.mark.parametrize("steps", [0, 3])
def test_the_table_fits_80_columns_and_folds_layers(steps: int) -> None:
    opt = measured(steps=steps)
    lines = str(opt.report()).splitlines()
    assert max(map(len, lines)) <= 80
    assert str(opt.report()).isascii()
    rows = [line.split() for line in lines if "norm.weight" in line]
    assert len(rows) == 2
    assert len(lines) < 40
    assert ("measured at step 3" in lines) == (steps > 0)


def test_a_folded_line_has_the_smallest_and_the_largest_value() -> None:
    report = measured().report()
    same = [param for param in report.params if param.label.endswith("norm.weight")]
    lines = str(report).splitlines()
    head = next(line for line in lines if line.split()[:2] == ["parameter", "grad"]).split()
    place = [k for k, line in enumerate(lines) if "norm.weight" in line][-1]
    low, high = lines[place].split(), lines[place + 1].split()
    assert high[:2] == ["up", "to"]
    values = [param.quantities()["grad_norm"] for param in same]
    column = head.index("grad")
    assert float(low[column + 1]) == pytest.approx(min(values), rel=0.05)  # type: ignore[type-var, arg-type]
    assert float(high[column + 1]) == pytest.approx(max(values), rel=0.05)  # type: ignore[type-var, arg-type]


def test_before_a_watch_one_line_says_how_to_measure() -> None:
    params = simple()
    opt = Adam(params)
    train(opt, params, [1])
    assert [line for line in str(opt.report()).splitlines() if "optimizer.watch()" in line] != []
    opt.watch()
    assert "optimizer.watch()" not in str(opt.report())


@pytest.mark.parametrize("kind", FAULTS)
@pytest.mark.filterwarnings("ignore::adamas.torch.DiagnosisWarning")
def test_every_warning_is_shown_with_its_remedy(kind: str) -> None:
    report: Report = FAULTS[kind](1).report()
    text = str(report)
    assert max(map(len, text.splitlines())) <= 80
    for found in report.warnings:
        assert f"! {found.kind}: " in text
        assert " ".join(found.remedy.split()) in " ".join(text.split())


# The page.


class Parsed(HTMLParser):
    """What a page has: tags that are open, those that ask for something, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.asks: list[str] = []
        self.text = ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attributes: Any) -> None:
        if tag not in ("br", "wbr"):
            self.open.append(tag)
        self.asks += [tag] if tag in ("script", "link", "img", "iframe") else []
        self.asks += [key for key, _ in attributes if key in ("src", "href") or key.startswith("on")]

    def handle_startendtag(self, tag: str, attributes: Any) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.parametrize("kind", [*FAULTS, None])
@pytest.mark.filterwarnings("ignore::adamas.torch.DiagnosisWarning")
def test_the_page_is_whole_and_asks_for_nothing(kind: str | None) -> None:
    report = (FAULTS[kind](0) if kind else measured()).report()
    found = Parsed(report._repr_html_())
    assert found.asks == []
    assert "url(" not in report._repr_html_()
    for each in report.warnings:
        assert each.remedy in found.text
    for param in report.params:
        assert param.label in found.text


def test_names_cannot_break_the_page() -> None:
    model = nn.ModuleDict({"<script>alert(1)</script>": nn.Linear(2, 2)})
    opt = AdamW(model.named_parameters())
    found = Parsed(opt.report()._repr_html_())
    assert found.asks == []
    assert "<script>alert(1)</script>" in found.text


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1440])
def test_the_page_fits_a_window_in_the_colours_of_the_notebook(
    browser: Browser, theme: str, width: int, tmp_path: Path
) -> None:
    body = measured().report()._repr_html_()
    path = tmp_path / "page.html"
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width">'
    path.write_text(
        f'<!doctype html><html style="color-scheme: {theme}">{head}{body}</html>', encoding="utf-8"
    )
    page = browser.new_page(viewport={"width": width, "height": 900})
    page.goto(path.as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator("table >> visible=true").count() == 1
    page.locator("summary").click()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator("table >> visible=true").count() == 2
    text = page.evaluate("getComputedStyle(document.querySelector('.adamas-report td')).color")
    shades = [int(number) for number in re.findall(r"\d+", text)[:3]]
    assert max(shades) < 80 if theme == "light" else min(shades) > 170
    page.close()
