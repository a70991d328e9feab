"""`adamas try`: what is wrong is said, what is right is measured, and nothing is left behind."""

import dataclasses
import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from trial_support import BROKEN, HEAD, RIGHT, SCALARS, M, changed
from typer.testing import CliRunner

pytest.importorskip("sklearn", reason="it trains on digits")

from adamas import formats
from adamas.cli import app
from adamas.experiments.trial import RuleFileError, _interpreted, agreement, contest, run
from adamas.experiments.trial.functions import FUNCTIONS, Function
from adamas.rules import Adam, Lion, Rule


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few stepsizes and steps, and no interpreter: what is measured is not the point."""
    monkeypatch.setattr(contest, "ALPHAS", (0.001, 0.01, 0.1, 1.0))
    monkeypatch.setattr(contest, "_STEPS", 100)
    monkeypatch.setattr(contest, "_EPOCHS", 1)
    monkeypatch.setattr(_interpreted.Interpreted, "possible", staticmethod(lambda: False))


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], Path]:
    folder = tmp_path / "rules"
    folder.mkdir()

    def written(text: str) -> Path:
        path = folder / "mine.py"
        path.write_text(text)
        return path

    return written


def command(*arguments: object, columns: int = 80) -> tuple[int, str, str]:
    given = ["try", *map(str, arguments)]
    given += [] if "--page" in given else ["--no-page"]
    result = CliRunner().invoke(app, given, catch_exceptions=False, env={"COLUMNS": str(columns)})
    return result.exit_code, result.stdout, result.stderr


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_one_line_and_leaves_nothing(name: str, write: Callable[[str], Path]) -> None:
    text, said = BROKEN[name]
    path = write(text)
    modules, folders = set(sys.modules), list(sys.path)
    code, out, err = command(path)
    assert (code, out) == (2, "")
    (line,) = [line for line in err.splitlines() if "%" not in line]
    assert line.startswith("adamas: ")
    assert said in line
    assert "mine.py" in line or "Mine" in line
    assert list(path.parent.iterdir()) == [path]
    assert not [module for module in set(sys.modules) - modules if "adamas_file_" in module]
    assert sys.path == folders
    assert sys.dont_write_bytecode == bool(sys.flags.dont_write_bytecode)


def test_a_file_that_is_missing_or_a_folder_is_named(tmp_path: Path) -> None:
    for path in (tmp_path / "none.py", tmp_path):
        code, out, err = command(path)
        assert (code, out) == (2, "")
        assert err.startswith(f"adamas: {path} cannot be read: ")


def test_every_backend_is_compared_in_every_format(write: Callable[[str], Path]) -> None:
    shares: list[float] = []
    (trial,) = run(write(RIGHT), compare=False, listen=lambda done, _: shares.append(done))
    assert shares == sorted(shares)
    assert shares[-1] == 1
    assert trial.slots == {"m": "signed"}
    assert trial.hyperparameters == {"lr": 1e-3, "beta": 0.9}
    assert (trial.fallback, trial.contests, trial.sound) == (None, [], True)
    found = {(each.backend, each.state): each for each in trial.agreements}
    for name in formats.names():
        each = found["numba", name]
        assert (each.agrees is True) != bool(each.note)  # float4 is refused to a rule without a root
        assert found["reference", name].agrees is (True if name in ("float32", "float64") else None)
    assert found["numba", "float64"].error == pytest.approx(0, abs=1e-12)


def test_a_helper_beside_the_file_can_be_imported(
    write: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    path = write("from helper_of_mine import SIZE\n" + changed("lr: float = 1e-3", "lr: float = SIZE"))
    helper = path.with_name("helper_of_mine.py")
    helper.write_text("SIZE = 0.25\n")
    (trial,) = run(path, compare=False)
    assert trial.hyperparameters["lr"] == 0.25
    assert "helper_of_mine" not in sys.modules
    assert set(path.parent.iterdir()) == {path, helper}


def test_several_rules_are_all_tried_or_those_that_are_named(write: Callable[[str], Path]) -> None:
    other = RIGHT.removeprefix(HEAD).replace("Mine", "Other")
    path = write(RIGHT + other)
    assert [trial.name for trial in run(path, compare=False)] == ["Mine", "Other"]
    assert [trial.name for trial in run(path, ["Other"], compare=False)] == ["Other"]
    with pytest.raises(RuleFileError, match="has no rule 'Third'; there are Mine, Other"):
        run(path, ["Third"])


def test_a_fallback_is_explained(write: Callable[[str], Path]) -> None:
    path = write(changed(M, "m = np.tanh(beta * m + rest * g)"))
    code, out, _ = command(path, "--no-compare")
    said = " ".join(out.split())
    assert code == 0
    assert "no kernel: " in said
    assert "np.tanh is unknown" in said
    assert "numba: Mine.update" in said or "numba float64, " in said


def test_a_format_that_is_not_used_agrees_with_nothing() -> None:
    few = agreement.Course(rows=4)
    found = agreement.by_torch(Lion(), "numba", "float8", course=few)
    assert (found.error, found.agrees) == (None, None)
    assert "float8" in found.note or "float32" in found.note


def test_a_backend_that_computes_something_else_is_found(
    write: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def other(params: Any, rule: Rule, **options: Any) -> Any:
        return agreement_optimizer(params, dataclasses.replace(rule, beta=0.5), **options)

    agreement_optimizer = agreement.Optimizer
    monkeypatch.setattr(agreement, "Optimizer", other)
    code, out, _ = command(write(RIGHT), "--no-compare", "--json")
    (trial,) = json.loads(out)
    assert (code, trial["sound"]) == (1, False)
    numba = [row for row in trial["agreements"] if row["backend"] == "numba" and row["error"] is not None]
    assert numba
    assert not any(row["agrees"] for row in numba)


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.name)
def test_functions_have_their_gradients_and_least_values(function: Function) -> None:
    points = np.random.default_rng(0).uniform(-2, 2, (5, 2))
    for k in range(2):
        shift = 1e-6 * np.eye(2)[k]
        slope = (function.value(points + shift) - function.value(points - shift)) / 2e-6
        np.testing.assert_allclose(function.gradient(points)[:, k], slope, rtol=1e-5, atol=1e-5)
    least = {"Rosenbrock": (1.0, 1.0), "Beale": (3.0, 0.5)}.get(function.name, (0.0, 0.0))
    assert function.value(np.array(least)) == 0
    assert (function.value(points) > 0).all()


def test_adam_beside_itself_wins_nothing() -> None:
    heard: list[str] = []
    found = contest.contests(Adam(lr=0.5), heard.append)
    assert len(heard) == contest.count()
    assert [each.problem for each in found] == [*(function.name for function in FUNCTIONS), contest.DIGITS]
    for each in found:
        assert each.mine == each.adam
        assert (each.ratio, each.low, each.high, each.winner) == (1, 1, 1, None)
        assert len(each.mine.costs) == contest.FRESH
        assert tuple(each.mine.sweep) == contest.ALPHAS


@dataclasses.dataclass(frozen=True)
class Halting(Rule):
    """Hardly moves."""

    lr: float = 1e-3

    def scalars(self, t: int) -> Any:
        return (1e-9 * self.lr,)

    @staticmethod
    def update(p, g, lr):
        return (p - lr * g,)


def test_a_rule_that_hardly_moves_loses() -> None:
    for each in contest.contests(Halting(), lambda _: None):
        assert each.winner == "Adam"
        assert each.low > 1


def test_a_stepsize_out_of_range_is_left_out_of_the_sweep(write: Callable[[str], Path]) -> None:
    text = RIGHT.replace("lr: float", "lr: Annotated[float, Le(0.01)]")
    (trial,) = run(write("from typing import Annotated\nfrom annotated_types import Le\n" + text))
    for each in trial.contests:
        assert [cost is None for cost in each.mine.sweep.values()] == [False, False, True, True]
        assert each.mine.lr <= 0.01


def test_a_rule_that_fails_in_training_is_one_line(write: Callable[[str], Path]) -> None:
    text = changed(SCALARS, "return [1, 1, 1][0 if self.lr < 0.5 else 9], self.beta, 1 - self.beta")
    code, out, err = command(write(text))
    assert (code, out) == (2, "")
    assert err.splitlines()[-1].startswith("adamas: Mine fails beside Adam: ")
    assert "IndexError" in err


def sides(mine: list[float], adam: list[float]) -> contest.Contest:
    made = [contest.Side(0.1, {0.1: 1.0}, costs, False) for costs in (mine, adam)]
    return contest._compared("p", "m", *made)


def test_the_winner_is_who_wins_beyond_the_spread() -> None:
    assert sides([1, 2, 3, 4], [2, 4, 6, 8]).winner == "mine"
    assert sides([2, 4, 6, 8.1], [1, 2, 3, 4]).winner == "Adam"
    assert sides([1, 2, 3, 4], [4, 1, 3, 2.5]).winner is None
    found = sides([1, 2, 3, 5], [2, 4, 6, 8])
    assert found.low < found.ratio < found.high < 1
    assert sides([1, math.inf], [1, 2]).winner == "Adam"
    assert sides([1, math.inf], [1, math.inf]).winner is None
    # what both have solved is no win
    assert sides([1e-12] * 4, [1e-15] * 4).winner is None


def test_the_best_stepsize_is_chosen_for_each_by_the_sweep() -> None:
    lr, sweep = contest._best({0.1: [1.0, 4.0], 1.0: [1.0, 1.0], 10.0: [math.inf, 0.1]})
    assert (lr, sweep) == (1.0, {0.1: 2.0, 1.0: 1.0, 10.0: math.inf})


def test_what_is_printed_fits_and_json_has_all(write: Callable[[str], Path]) -> None:
    path = write(RIGHT)
    code, out, err = command(path, "--json")
    (trial,) = json.loads(out)
    assert code == 0
    assert trial["name"] == "Mine"
    assert len(trial["contests"]) == len(FUNCTIONS) + 1
    assert "100 %" in err
    for columns in (60, 80, 120):
        code, out, _ = command(path, columns=columns)
        assert code == 0
        assert max(map(len, out.splitlines())) <= columns
        for word in ("Mine", "agrees", "not taken", "wins", "digits"):
            assert word in out


def test_a_page_of_the_playground_has_the_rule(
    write: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, page = write(RIGHT), tmp_path / "page.html"
    code, out, _ = command(path, "--no-compare", "--page", page)
    assert code == 0
    assert str(page) in out.splitlines()[-2]
    assert "Mine" in page.read_text(encoding="utf-8")
    assert set(tmp_path.iterdir()) == {path.parent, page}
    code, out, err = command(path, "--page", tmp_path / "none" / "page.html")
    assert (code, out) == (2, "")
    assert f"there is no folder {tmp_path / 'none'} for the page" in err
    monkeypatch.chdir(tmp_path)
    assert CliRunner().invoke(app, ["try", str(path), "--no-compare"]).exit_code == 0
    assert (tmp_path / "mine.html").exists()


def test_a_rule_that_javascript_lacks_has_no_page(write: Callable[[str], Path], tmp_path: Path) -> None:
    path, page = write(changed(M, "m = np.tanh(beta * m + rest * g)")), tmp_path / "page.html"
    (trial,) = run(path, compare=False, page=page)
    assert trial.page is None
    assert "tanh" in str(trial.no_page)
    assert not page.exists()


@pytest.mark.slow
def test_kernels_for_gpus_run_in_the_interpreter(write: Callable[[str], Path]) -> None:
    pytest.importorskip("triton", reason="there is no Triton for this system")
    started = _interpreted.Interpreted(write(RIGHT), "Mine")
    try:
        found = {each.state: each for each in started.result()}
    finally:
        started.stop()
    assert found.keys() == set(formats.names())
    assert all(found[name].agrees for name in ("float64", "float32", "bfloat16", "float8"))
    assert found["float4"].note


def test_a_rule_of_the_package_can_be_compared_by_optax() -> None:
    pytest.importorskip("optax", reason="optax is not installed")
    assert agreement.by_optax(Lion(), "float32").agrees
    assert agreement.by_optax(Lion(), "bfloat16").agrees
