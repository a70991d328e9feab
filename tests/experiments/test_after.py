"""Claims that were made after the paper: each that is found, and how they are listed."""

import dataclasses
import functools
import json
import re
import sys
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from typer.testing import CliRunner

from adamas._tools import modules
from adamas.cli import app
from adamas.experiments import ExperimentError, after
from adamas.experiments.after import Comparison, edge_of_stability
from adamas.experiments.findings import Verdict
from adamas.experiments.reports import matplotlib

CLAIMS = after.all_learned()
each_claim = pytest.mark.parametrize("name", CLAIMS)


@functools.cache
def comparison(name: str) -> Comparison:
    return CLAIMS[name].compare()


@each_claim
def test_it_has_a_statement_a_formula_and_a_source_with_its_year_and_number(name: str) -> None:
    claim = CLAIMS[name]
    assert claim.claim
    assert not claim.claim.endswith(".")
    assert re.search(r"[=≤≥→∝<≈]", claim.formula)
    assert "here" in claim.source or re.search(r"\b20[12]\d, .*\b(arXiv \d{4}\.\d{5}|doi)", claim.source)
    assert "\n" not in claim.claim + claim.formula + claim.source


@each_claim
def test_it_is_measured_and_judged_in_one_line_with_a_number(name: str) -> None:
    found = comparison(name)
    assert found.verdict in get_args(Verdict)
    assert found.verdict != "not measured"
    assert re.search(r"\d", found.text)
    assert not re.search(r"\n|\b(nan|inf)\b|\.$", found.text)


@each_claim
def test_what_it_predicts_stands_beside_what_is_measured(name: str) -> None:
    values = comparison(name).values
    assert any(value.predicted is not None and value.measured is not None for value in values)
    assert len({value.name for value in values}) == len(values)
    numbers = [number for value in values for number in value[1:] if number is not None]
    assert np.isfinite(numbers).all()


@each_claim
def test_its_charts_are_curves_that_can_be_drawn(name: str) -> None:
    charts = comparison(name).charts
    for chart in charts:
        assert chart.title
        assert chart.lines
        for line in chart.lines:
            assert line.values.shape[1:] == line.x.shape
            assert np.isfinite(line.values).any()
            assert (np.diff(line.x) > 0).all()
    if charts:
        matplotlib.draw("", [charts])


@pytest.mark.slow
@each_claim
def test_it_is_measured_the_same_every_time(name: str) -> None:
    again = CLAIMS[name].compare()
    assert (again.text, again.values) == (comparison(name).text, comparison(name).values)


WRONG = {
    "edge_of_stability": [("threshold", 1.3)],
    "mean_and_variance": [("variance", 1.001)],
    "quartic": [("pace", 1.05), ("descent", 1.05)],
    "step_bound": [("bound", 0.99), ("limit", 1.01)],
    "two_cycles": [("amplitude", 1.01)],
}


@pytest.mark.parametrize(
    ("name", "formula", "wrong"), [(n, *each) for n, all_ in WRONG.items() for each in all_]
)
def test_a_wrong_formula_does_not_hold(
    name: str, formula: str, wrong: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert comparison(name).verdict == "holds"
    module = sys.modules[f"{after.__name__}.{name}"]
    right = getattr(module, formula)
    if name == "edge_of_stability":  # trainings are judged by the same threshold, and take seconds
        monkeypatch.setattr(module, "train", lambda rule, steps, seed: np.full(9, 1 + 0.01 * seed))
    monkeypatch.setattr(module, formula, lambda *arguments: wrong * right(*arguments))
    assert CLAIMS[name].compare().verdict in ("fails", "holds here only partly")


def test_the_factors_of_a_frozen_step_are_those_of_the_polynomial() -> None:
    for beta1 in (0.3, 0.8):
        for share in (0.999, 1.001, 1.002):
            found = edge_of_stability.frozen(beta1, share)
            assert found == pytest.approx(edge_of_stability.factor(beta1, share), rel=5e-3)
            assert (found < 1) == (share < 1)


def test_products_with_the_hessian_are_differences_of_gradients() -> None:
    network = edge_of_stability.Network(3)
    direction = np.random.default_rng(0).normal(size=network.start.size)
    ahead, behind = (network.gradient(network.start + h * direction) for h in (1e-5, -1e-5))
    along = network.hessian(network.start)(direction)
    np.testing.assert_allclose(along, (ahead - behind) / 2e-5, rtol=1e-6, atol=1e-8)


def test_the_largest_eigenvalue_is_that_of_the_preconditioned_matrix() -> None:
    random = np.random.default_rng(0)
    factors, scale = random.normal(size=(20, 30)), random.uniform(0.1, 10, 20)
    matrix = factors @ factors.T - 20 * np.eye(20)
    found, vector = edge_of_stability.largest_eigenvalue(lambda x: matrix @ x, scale, np.ones(20))
    assert found == pytest.approx(np.linalg.eigvals(matrix / scale[:, None]).real.max(), rel=1e-3)
    assert vector.shape == (20,)


@pytest.mark.parametrize(
    ("low", "high", "decided"),
    [(0.95, 1.05, True), (0.7, 0.8, False), (1.2, 1.3, False), (0.85, 0.95, None), (1.05, 1.15, None)],
)
def test_an_interval_across_the_threshold_decides_nothing(
    low: float, high: float, decided: bool | None
) -> None:
    assert edge_of_stability.hovers(low, high) is decided


def test_a_name_that_no_claim_has_is_told_with_those_there_are() -> None:
    with pytest.raises(ExperimentError, match="claim made after the paper 'none'; known: adamw_equilibrium"):
        after.load("none")


def test_a_new_file_is_a_new_claim(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "newcomer.py").write_text("CLAIM = 'the new claim'\n")
    folders = [*after.__path__, str(tmp_path)]
    monkeypatch.setattr(after, "__path__", folders)
    monkeypatch.setattr(after.__spec__, "submodule_search_locations", folders)
    assert modules.names(after.__name__) == sorted([*CLAIMS, "newcomer"])
    assert str(after.load("newcomer")) == "the new claim"


def command(*arguments: str, **environment: str) -> tuple[int, str, str]:
    arguments = ("claims", "--after", *arguments)
    result = CliRunner().invoke(app, arguments, env=environment, catch_exceptions=False)
    return result.exit_code, result.stdout, result.stderr


def test_they_are_listed_apart_and_a_statement_that_was_not_read_is_marked(made_up: Path) -> None:
    code, out, err = command()
    assert (code, err) == (0, "")
    _, _, line, *_ = out.splitlines()
    assert line.split() == ["holds", "late", "x", "is", "a", "half", "(not", "read", "in", "its", "source)"]
    assert "1 claims: 1 hold" in out
    for hidden in ("Nobody", "½", "one is one"):
        assert hidden not in out


def test_the_formula_and_what_it_predicts_are_shown_on_request(made_up: Path) -> None:
    code, out, _ = command("late", "--long")
    assert code == 0
    for shown in ("holds: x is a half (not read", "x = ½ <x>", "source: Nobody 2030", "0.51 is near ½"):
        assert shown in out
    rows = [line.split() for line in out.splitlines()]
    assert ["case", "predicted", "measured"] in rows
    assert ["x", "0.5", "0.51"] in rows
    assert ["y", "-", "7"] in rows


def test_all_of_it_is_json(made_up: Path) -> None:
    code, out, _ = command("--json")
    assert code == 0
    assert json.loads(out) == [
        {
            "name": "late",
            "claim": "x is a half",
            "source": "Nobody 2030",
            "formula": "x = ½ <x>",
            "read": False,
            "verdict": "holds",
            "text": "0.51 is near ½",
            "values": [
                {"name": "x", "predicted": 0.5, "measured": 0.51},
                {"name": "y", "predicted": None, "measured": 7.0},
            ],
        }
    ]
    assert json.loads(command("--json", "--verdict", "fails")[1]) == []


def test_they_write_nothing(made_up: Path, tmp_path: Path) -> None:
    folder = tmp_path / "elsewhere"
    assert command("--results", str(folder))[0] == 0
    assert not folder.exists()


def test_a_claim_of_the_paper_is_none_of_them(made_up: Path) -> None:
    known = "unknown claim made after the paper 'one'; known: late"
    assert command("one") == (2, "", f"adamas: {known}\n")


def test_a_claim_that_raises_is_not_measured(made_up: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def measure() -> Comparison:
        raise ValueError("on purpose")

    broken = dataclasses.replace(after.load("late"), measure=measure)
    monkeypatch.setattr(sys.modules["adamas.experiments.after.late"], "CLAIM", broken)
    code, out, err = command("--json")
    assert (code, [row["verdict"] for row in json.loads(out)]) == (1, ["not measured"])
    assert "ValueError: on purpose" in err


@pytest.mark.parametrize("long", [[], ["--long"]])
def test_what_is_found_fits_80_columns_and_ascii(long: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, claim in CLAIMS.items():
        said = dataclasses.replace(claim, measure=functools.partial(comparison, name))
        monkeypatch.setattr(sys.modules[f"{after.__name__}.{name}"], "CLAIM", said)
    result = CliRunner(charset="ascii").invoke(app, ["claims", "--after", *long], env={"COLUMNS": "80"})
    assert result.exit_code == 0
    assert max(map(len, result.stdout.splitlines())) <= 80
    # What has no spelling in ASCII is "?".
    assert "?" not in result.stdout
