import dataclasses
import itertools
import math
import re
from typing import Any

import numpy as np
import pytest

from adamas.backends import reference
from adamas.experiments import ExperimentError, figures, findings, online_problems
from adamas.experiments.figures import counterexample
from adamas.experiments.figures._regret import RegretCurves
from adamas.experiments.figures._theorem import gamma, theorem_bound
from adamas.experiments.records.store import key
from adamas.experiments.runs.online import Online, Scalars, Scheduled, recorded_rounds
from adamas.rules import SGD, Adagrad, Adam, AdaMax, AMSGrad, NAdam, Rule

THREE = {"large": 3.0, "small": 1.0, "period": 3, "order": "in turn"}
RULE = Adam(lr=0.5, beta1=0.8, beta2=0.9)


def online(problem: str, rounds: int, rule: Rule = RULE, decay: float = 0.9, **options: Any) -> Online:
    return Online(problem, tuple(sorted(options.items())), rule, decay, rounds, seed=0)


def literal(run: Online) -> tuple[list[float], list[np.ndarray], list[np.ndarray]]:
    """Algorithm 1 with α/√t, β1 λ^(t-1) and 1 - β1^t: costs, points and gradients by round."""
    stream = online_problems.load(run.problem).build(run.seed, run.rounds, **dict(run.options))
    rule: Any = run.rule
    point = stream.start
    m, v = 0.0 * point, 0.0 * point
    costs, points, gradients = [], [point], []
    for t in range(1, run.rounds + 1):
        costs.append(stream.cost(t, point))
        g = stream.gradient(t, point)
        beta1 = rule.beta1 * run.decay ** (t - 1)
        m, v = beta1 * m + (1 - beta1) * g, rule.beta2 * v + (1 - rule.beta2) * g * g
        m_hat, v_hat = m / (1 - rule.beta1**t), v / (1 - rule.beta2**t)
        point = stream.project(point - rule.lr / math.sqrt(t) * m_hat / (np.sqrt(v_hat) + rule.eps))
        points.append(point)
        gradients.append(g)
    return costs, points, gradients


RUNS = [
    online("least_squares", 12, dimensions=2),
    online("logistic", 12, dimensions=2),
    online("reddi", 12, **THREE),
    online("reddi", 12, **THREE, edges="flat"),
    online("reddi", 12, large=1010.0, small=10.0, period=101, order="random"),
]
each_run = pytest.mark.parametrize("run", RUNS, ids=lambda run: run.describe())


@each_run
def test_points_are_those_of_algorithm_1(run: Online) -> None:
    _, points, _ = literal(run)
    for record in run.execute().epochs:
        assert record["x"] == pytest.approx(np.ravel(points[int(record["epoch"])])[0], rel=1e-9, abs=1e-12)


@each_run
def test_regret_is_that_against_the_best_of_a_fine_grid(run: Online) -> None:
    costs, points, _ = literal(run)
    stream = online_problems.load(run.problem).build(run.seed, run.rounds, **dict(run.options))
    axis = np.linspace(-1, 1, 201)
    vector = isinstance(points[0], np.ndarray)
    grid = [np.array(pair) for pair in itertools.product(axis, axis)] if vector else axis.tolist()
    last = run.execute().epochs[-1]
    rounds = int(last["epoch"])
    least = min(sum(stream.cost(t, x) for t in range(1, rounds + 1)) for x in grid[:: 7 if vector else 1])
    regret = sum(costs[:rounds]) - least
    # The grid is a subset, so its best is no better; and on it costs change by little from point to point.
    assert regret - 1e-9 <= last["regret"] <= regret + (0.05 if vector else 1e-9)
    assert last["average_regret"] == pytest.approx(last["regret"] / rounds)
    assert last["best"] * rounds == pytest.approx(sum(costs[:rounds]) - last["regret"])


@pytest.mark.parametrize("name", ["least_squares", "logistic"])
@pytest.mark.parametrize("rounds", [1, 7, 200])
def test_the_best_point_is_optimal(name: str, rounds: int) -> None:
    """Of a convex function, a point is best if a step against its gradient is projected back on it."""
    stream = online_problems.load(name).build(3, 200, dimensions=4)
    best, least = stream.best(rounds)
    gradient = sum(stream.gradient(t, best) for t in range(1, rounds + 1))
    np.testing.assert_allclose(stream.project(best - gradient / rounds), best, atol=1e-6)
    assert least == pytest.approx(sum(stream.cost(t, best) for t in range(1, rounds + 1)), abs=1e-9)


@each_run
def test_gradients_are_those_of_the_costs_and_bounded(run: Online) -> None:
    stream = online_problems.load(run.problem).build(1, 40, **dict(run.options))
    random = np.random.default_rng(0)
    for t in range(1, 41):
        x = random.uniform(-0.9, 0.9, np.shape(stream.start))
        x = x if np.ndim(stream.start) else float(x)
        direction = random.standard_normal(np.shape(stream.start))
        h = 1e-6
        slope = (stream.cost(t, x + h * direction) - stream.cost(t, x - h * direction)) / (2 * h)
        gradient = stream.gradient(t, x)
        assert np.sum(gradient * direction) == pytest.approx(slope, rel=1e-5, abs=1e-7)
        assert np.max(np.abs(gradient)) <= stream.gradient_bound


@each_run
def test_a_longer_stream_begins_like_a_shorter_one(run: Online) -> None:
    short, long = (online_problems.load(run.problem).build(5, n, **dict(run.options)) for n in (10, 500))
    x = 0.3 + 0 * short.start
    assert [short.cost(t, x) for t in range(1, 11)] == [long.cost(t, x) for t in range(1, 11)]


def test_flat_edges_make_no_difference_inside_and_end_the_slope_outside() -> None:
    flat, lines = (
        online_problems.load("reddi").build(0, 3, **THREE, edges=edges) for edges in ("flat", "projected")
    )
    for t, (outside, beyond) in enumerate([(-1.5, 2.0), (1.5, -2.0), (1.5, -2.0)], start=1):
        assert flat.cost(t, 0.5) == lines.cost(t, 0.5)
        assert (flat.gradient(t, outside), flat.gradient(t, beyond)) == (0, lines.gradient(t, beyond))
    assert flat.project(5.0) == 5.0
    assert lines.project(5.0) == 1.0


@pytest.mark.parametrize(
    "rule", [Adam(), AMSGrad(), AMSGrad(bias_correction=False), AdaMax(), Adagrad(), SGD()], ids=str
)
def test_floats_have_the_bits_of_arrays(rule: Rule) -> None:
    scheduled, grads = Scheduled(rule, 1.0), [1.5, -0.25, 3.0, 0.125, -7.0]
    scalars = reference.trajectory(scheduled, 0.25, lambda t, _: grads[t - 1], len(grads), xp=Scalars)
    arrays = reference.trajectory(scheduled, np.array([0.25]), lambda t, _: grads[t - 1], len(grads))
    assert [state.p for state in scalars] == [state.p[0] for state in arrays]


def test_the_schedule_is_the_papers() -> None:
    rule = Adam(lr=0.3, beta1=0.8, beta2=0.99)
    for t in (1, 2, 9):
        beta1, gain1, *_, step, _, _ = Scheduled(rule, 0.9).scalars(t)
        assert (beta1, gain1) == pytest.approx((0.8 * 0.9 ** (t - 1), 1 - 0.8 * 0.9 ** (t - 1)))
        assert step == pytest.approx(0.3 / math.sqrt(t) * math.sqrt(1 - 0.99**t) / (1 - 0.8**t))
    assert Scheduled(SGD(lr=2.0), 1.0).scalars(4) == (1.0,)


def test_records_are_at_whole_periods() -> None:
    assert recorded_rounds(100, 1, 1) == [1, 10, 100]
    assert recorded_rounds(100, 1, 3) == [3, 30, 99]
    assert recorded_rounds(2, 4, 3) == []


def test_a_configuration_says_its_kind_and_everything() -> None:
    run = online("reddi", 9, **THREE)
    configuration = run.configuration()
    assert configuration["kind"] == "online"
    assert configuration["options"] == THREE
    assert configuration["rule"]["name"] == "Adam"
    changes: list[dict[str, Any]] = [{"decay": 0.5}, {"rounds": 8}, {"seed": 1}, {"rule": AMSGrad(lr=0.5)}]
    others = [dataclasses.replace(run, **change) for change in changes]
    assert len({key(each.configuration()) for each in (run, *others)}) == 5


def test_a_version_is_part_of_a_configuration_from_the_second_on(monkeypatch: pytest.MonkeyPatch) -> None:
    configuration = online("reddi", 9, **THREE).configuration()
    assert "version" not in configuration
    monkeypatch.setattr("adamas.experiments.runs.online.VERSION", 2)
    assert online("reddi", 9, **THREE).configuration() == {**configuration, "version": 2}


def test_its_length_is_told_in_epochs_of_training() -> None:
    assert [online("reddi", rounds, **THREE).epochs for rounds in (9, 1_000_000)] == [1, 100]


@pytest.mark.parametrize(
    ("rule", "decay", "message"),
    [
        (NAdam(), 1.0, "α of NAdam cannot be scheduled: its update has no scalar 'lr', only .*step_g"),
        (SGD(lr=1.0), 0.9, "β1 of SGD cannot be scheduled: its update has no scalar 'beta1'"),
    ],
)
def test_a_rule_that_cannot_be_scheduled_is_named(rule: Rule, decay: float, message: str) -> None:
    with pytest.raises(ExperimentError, match=message):
        Scheduled(rule, decay)


def test_an_unknown_order_is_refused() -> None:
    with pytest.raises(ValueError, match="order must be 'in turn' or 'random', got 'rnd'"):
        online_problems.load("reddi").build(0, 9, **{**THREE, "order": "rnd"})


def test_runs_repeat_to_the_bit() -> None:
    run = online("logistic", 40, dimensions=3)
    one, other = run.execute(), run.execute()
    assert (one.status, one.epochs) == ("done", other.epochs)
    assert len(one.clock) == len(one.epochs)


# The bound.


def test_the_bound_is_what_the_theorem_prints() -> None:
    """By hand: α = .5, β1 = .5, β2 = .25 (γ = .5), λ = .9, T = 4, D = 2, D∞ = 1, G∞ = 3, d = 2."""
    rule = Adam(lr=0.5, beta1=0.5, beta2=0.25)
    measured = {"root_v": 1.5, "gradient_norms": 6.0, "diameter": 2.0, "widest": 1.0, "dimensions": 2.0}
    terms = theorem_bound(rule, 0.9, 4, measured, 3.0)
    assert gamma(rule) == 0.5
    # D² / (2α(1-β1)) = 4 / .5 = 8, times √4 · 1.5 = 3
    assert terms.distance == pytest.approx(24)
    # α(1+β1)G∞ / ((1-β1)√(1-β2)(1-γ)²) = 2.25 / (.5 · √.75 · .25), times 6
    assert terms.gradients == pytest.approx(2.25 / (0.125 * math.sqrt(0.75)) * 6)
    # D∞²G∞√(1-β2) / (2α(1-β1)(1-λ)²) = 3 √.75 / (.5 · .01), times d
    assert terms.momentum == pytest.approx(2 * 600 * math.sqrt(0.75))


def test_what_the_bound_takes_is_what_happened() -> None:
    run = online("least_squares", 12, dimensions=2)
    _, points, gradients = literal(run)
    last = run.execute().epochs[-1]
    v = np.zeros(2)
    for g in gradients:
        v = 0.9 * v + 0.1 * g * g
    assert last["root_v"] == pytest.approx(np.sqrt(v / (1 - 0.9**12)).sum())
    assert last["gradient_norms"] == pytest.approx(np.sqrt(np.square(gradients).sum(axis=0)).sum())
    best, _ = online_problems.load(run.problem).build(0, 12, dimensions=2).best(12)
    sides = np.ptp(np.array([*points, best]), axis=0)
    assert last["diameter"] == pytest.approx(np.linalg.norm(sides))
    assert last["widest"] == pytest.approx(sides.max())
    problem = online_problems.load(run.problem).build(0, 12, dimensions=2)
    assert (last["gradient_bound"], last["dimensions"]) == (problem.gradient_bound, 2)


# The counterexamples.


@pytest.mark.parametrize("edges", ["projected", "flat"])
@pytest.mark.parametrize("beta1", [0.0, 0.25])
def test_adams_regret_is_linear_and_amsgrads_is_not(edges: str, beta1: float) -> None:
    """Reddi, Kale & Kumar 2018, Theorem 1: at x = 1 three rounds cost C - 2 where the best cost 2 - C."""
    adam = online("reddi", 3_000, Adam(1.0, beta1, 0.1), **THREE, edges=edges).execute().epochs[-1]
    theirs = AMSGrad(1.0, beta1, 0.1, bias_correction=False)
    amsgrad = online("reddi", 3_000, theirs, **THREE, edges=edges).execute().epochs[-1]
    assert adam["average_regret"] >= 2 / 3 * 0.99
    assert adam["x"] == pytest.approx(1, abs=0.05)
    assert amsgrad["average_regret"] < 0.05
    assert amsgrad["x"] == pytest.approx(-1, abs=0.05)


@pytest.mark.parametrize("name", ["regret", "counterexample"])
@pytest.mark.parametrize("preset", findings.PRESETS)
def test_the_conditions_of_the_theorem_are_met_in_every_run(name: str, preset: findings.Preset) -> None:
    runs = figures.load(name).runs(preset)
    assert len(set(runs)) == len(runs)
    adams = [run.rule for run in runs if isinstance(run.rule, Adam)]
    assert adams
    assert all(gamma(rule) < 1 and rule.bias_correction for rule in adams)
    assert all(0 < run.decay < 1 for run in runs)


def small(name: str, **changes: Any) -> tuple[Any, dict[Any, Any]]:
    """The figure with short runs of its demo, and their records."""
    figure = figures.load(name)
    panels = [dataclasses.replace(panel, **changes) for panel in figure.panels["demo"]]
    figure = dataclasses.replace(figure, panels={"demo": panels})
    return figure, {run: dataclasses.asdict(run.execute()) for run in figure.runs("demo")}


def test_the_counterexample_says_that_the_theorem_fails() -> None:
    figure, records = small("counterexample", rounds=4_000)
    tables = figure.tables("demo", records)
    verdicts = [[finding.verdict for finding in table.findings] for table in tables[:2]]
    assert verdicts == [["fails", "fails", "holds"]] * 2
    assert "exceeds from T = " in tables[0].findings[0].measured
    assert tables[2].findings[0].source == "section 4, Corollary 4.2"
    rows = figure.charts("demo", records)
    assert [[len(chart.lines) for chart in row] for row in rows] == [[4, 4, 3], [2, 2, 2]]


def curves(averages: list[float], rounds: list[float]) -> RegretCurves:
    epochs = [
        {"epoch": t, "average_regret": mean, "regret": t * mean, "x": 1.0}
        for t, mean in zip(rounds, averages, strict=True)
    ]
    return RegretCurves([], [{"status": "done", "epochs": [{}, *epochs]}])


ROUNDS = [1e5, 2e5, 4e5, 6e5, 8e5, 1e6]


@pytest.mark.parametrize(
    ("averages", "steepness", "verdict"),
    [
        ([t**-0.5 for t in ROUNDS], -0.5, "holds"),
        ([-0.1, -0.1, *[t**0.25 for t in ROUNDS[2:]]], 0.25, "fails"),  # it rises once it is there
        ([-0.1, 0.0, 0.3, 0.2, 0.1, 0.0], None, "holds"),  # none is left
        ([0.3, 0.3, 0.3, -0.1, 0.3, 0.1], None, "not measured"),  # two records are no slope
    ],
)
def test_a_rate_is_judged_by_the_regret_there_is_at_the_end(
    averages: list[float], steepness: float | None, verdict: str
) -> None:
    rate = curves(averages, ROUNDS).rate(1.0)
    assert rate.verdict == verdict
    assert (rate.steepness and rate.steepness.value) == (
        None if steepness is None else pytest.approx(steepness)
    )
    assert not re.search("nan|inf", rate.text)


@pytest.mark.parametrize(("apart", "verdict"), [(0.0, "holds"), (0.005, "holds"), (0.05, "undecided")])
def test_a_rate_that_the_seeds_disagree_on_is_undecided(apart: float, verdict: str) -> None:
    seeds = [curves([t ** (-0.5 + by) for t in ROUNDS], ROUNDS) for by in (-apart, 0.0, apart)]
    rate = RegretCurves([], [record for each in seeds for record in each.records]).rate(1.0)
    assert rate.verdict == verdict
    assert re.search(r"T\^-0\.\d\d \[-0\.\d\d, -?0\.\d\d\]", rate.text)


def test_late_regret_is_undecided_where_the_seeds_disagree_on_staying_at_1() -> None:
    panel: Any = dataclasses.replace(figures.load("counterexample").panels["demo"][0], bounded=False)  # type: ignore[type-var]
    worst, results = panel.worst, []
    for factor in (0.5, 1.2):
        regret = [worst * factor * 1e5**0.5 * t**-0.5 for t in ROUNDS]
        results.append(curves(regret, ROUNDS).records[0])
    adam = RegretCurves([], results)
    found = counterexample.findings(panel, {"Adam": adam, "AMSGrad": adam})
    assert [finding.verdict for finding in found] == ["undecided", "holds"]


@pytest.mark.parametrize("rounds", [[50.0, 60.0, 70.0, 80.0], [5.0, 10.0, 50.0, 100.0]])
def test_late_regret_is_that_since_the_last_record_of_the_first_tenth(rounds: list[float]) -> None:
    """Before the first record there are the rounds from the first on."""
    assert counterexample.late_regret(curves([0.25] * 4, rounds)).value == pytest.approx(0.25)


def test_runs_that_diverged_are_not_missing_and_no_regret_of_theirs_falls() -> None:
    figure, records = small("counterexample", rounds=400)
    records = {run: {**record, "status": "diverged"} for run, record in records.items()}
    first, *_ = figure.tables("demo", records)
    assert {finding.measured for finding in first.findings} == {"1 of 1 runs diverged"}
    assert [finding.verdict for finding in first.findings] == ["not measured", "fails", "fails"]
    assert all(not chart.lines for row in figure.charts("demo", records) for chart in row)


def test_the_corollary_tells_all_that_it_is_judged_by() -> None:
    figure, records = small("counterexample", rounds=4_000)
    measured = figure.tables("demo", records)[1].findings[1].measured
    assert "0.667 of staying at x = 1" in measured
    assert re.search(r"R\(T\)/T ∝ T\^-?\d\.\d+ .*\(our threshold: at most -0.45\)", measured)


@pytest.mark.parametrize("preset", findings.PRESETS)
def test_where_theorem_1_of_reddi_et_al_is_cited_alpha_is_as_it_asks(preset: findings.Preset) -> None:
    panel = figures.load("counterexample").panels[preset][0]  # type: ignore[attr-defined]
    assert all(0 < rule.lr < (1 - panel.beta2) ** 0.5 for rule in panel.rules.values())


def test_the_regret_figure_draws_the_bound_above_the_regret() -> None:
    figure, records = small("regret", rounds=300, seeds=(0, 1))
    for table, chart in zip(figure.tables("demo", records), figure.charts("demo", records)[0], strict=True):
        assert table.findings[1].verdict == "holds"
        measured, _, bound = chart.lines
        assert measured.values.shape == bound.values.shape == (2, len(measured.x))
        assert (bound.values > measured.values).all()


@pytest.mark.parametrize("name", ["regret", "counterexample"])
def test_what_has_no_records_is_said_to_have_none(name: str) -> None:
    figure = figures.load(name)
    tables = figure.tables("demo", {})
    assert {finding.verdict for table in tables for finding in table.findings} == {"not measured"}
    assert all(not chart.lines for row in figure.charts("demo", {}) for chart in row)
