"""The family beside Adam: what is run, and what is said of it, by properties of made-up costs."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from adamas.experiments import figures
from adamas.experiments.bootstrap import Estimate
from adamas.experiments.charts import Chart
from adamas.experiments.figures import _zoo
from adamas.experiments.figures._zoo import MOST, NEAR, REACH, Member, Sweep, Task
from adamas.experiments.figures._zoo_charts import ranked
from adamas.experiments.figures._zoo_judged import BASE, Contest, findings, pays, ranking, standing, summary
from adamas.experiments.figures.zoo import ZooPanel
from adamas.experiments.findings import PRESETS, Preset
from adamas.experiments.reports.html import _plot
from adamas.experiments.runs.training import Training
from adamas.rules import SGD, Adam, AdaMax, AMSGrad, Lion
from adamas.rules._found import rule_classes

TASKS = [
    Task(name, name, "note", "images_softmax", {"data": "digits"}, 128, 1) for name in ("one", "two", "three")
]
RULES = {"SGD": SGD(), "Lion": Lion(), BASE: Adam(), "AdaMax": AdaMax(), "AMSGrad": AMSGrad()}
SEEDS = (0, 1, 2)
START = 100.0
# How far a seed moves every cost alike, which moves no ratio.
SHARED = {0: 0.9, 1: 1.0, 2: 1.1}

Cost = Callable[[Training], float]


def record(cost: float) -> dict[str, Any]:
    first = {"epoch": 0.0, "cost": None, "train_nll": START}
    status = "done" if math.isfinite(cost) else "diverged"
    return {"status": status, "epochs": [first, {"epoch": 1.0, "cost": cost, "train_nll": cost}]}


def valley(best: float = 1.0, at: float = 1.0, steep: float = 1.0) -> Cost:
    """A cost that is lowest at so many times the default α, and e^steep times as high a decade from there."""

    def cost(run: Training) -> float:
        default = type(run.rule)().lr
        decades = abs(math.log10(run.rule.lr / default / at))
        return best * math.exp(steep * decades) * SHARED[run.seed]

    return cost


def grown(sweep: Sweep, cost: Cost) -> dict[Any, Any]:
    """The records of all runs that the sweep ever asks for."""
    records: dict[Any, Any] = {}
    while missing := [run for run in sweep.runs(records) if run not in records]:
        records |= {run: record(cost(run)) for run in missing}
    return records


def result(cost: Cost, step: float = 0.5) -> _zoo.Result:
    sweep = Sweep(TASKS[0], Member("rule", Adam()), SEEDS, step)
    return sweep.result(grown(sweep, cost))


def contest(factors: Mapping[str, float | Cost]) -> Contest:
    """Rules whose costs are those of Adam, 1 in the mean, times a factor, or a cost of their own."""
    results = []
    for task in TASKS:
        found = {}
        for name, rule in RULES.items():
            sweep = Sweep(task, Member(name, rule), SEEDS, 1.0)
            wanted = factors.get(name, 1.0)
            cost = wanted if callable(wanted) else valley(wanted, steep=3.0)
            found[name] = sweep.result(grown(sweep, cost))
        results.append(found)
    return Contest(TASKS, results)


def verdicts(made: Contest) -> dict[str, set[str]]:
    return {name: set(made.standings(name)) for name in RULES}


def test_every_rule_that_there_is_takes_part_and_none_is_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert {type(each.rule) for each in _zoo.members()} == set(rule_classes().values())
    assert len({each.name for each in _zoo.members()}) == len(_zoo.members())
    assert {getattr(each.rule, "weight_decay", 0.0) for each in _zoo.members()} == {0.0}

    @dataclasses.dataclass(frozen=True)
    class Newcomer(Adam):
        lr: float = 7.0

    monkeypatch.setattr(_zoo, "rule_classes", lambda: {**rule_classes(), "Newcomer": Newcomer})
    for preset in PRESETS:
        runs: Any = figures.load("zoo").runs(preset)
        lrs = {run.rule.lr for run in runs if isinstance(run.rule, Newcomer)}
        assert min(lrs) == pytest.approx(0.7)
        assert max(lrs) == pytest.approx(70)
    names = [name for (chart,), *_ in [figures.load("zoo").charts("demo", {})] for name in chart.names]
    assert "Newcomer" in names


@pytest.mark.parametrize("preset", PRESETS)
def test_rules_differ_in_the_rule_alone_and_there_are_seeds_for_an_interval(preset: Preset) -> None:
    runs: Any = figures.load("zoo").runs(preset)
    problems: dict[str, set[Training]] = {}
    for run in runs:
        same = dataclasses.replace(run, rule=Adam(), seed=0)
        problems.setdefault(run.problem, set()).add(same)
    assert [len(each) for each in problems.values()] == [1, 1, 1]
    assert len({run.seed for run in runs}) >= 3
    by_rule = {run.rule: set[tuple[str, int]]() for run in runs}
    for run in runs:
        by_rule[run.rule].add((run.problem, run.seed))
    assert all(each == {(run.problem, run.seed) for run in runs} for each in by_rule.values())


@pytest.mark.parametrize("at", [1e-3, 0.1, 1.0, 10.0, 1e3])
def test_a_sweep_grows_until_the_best_is_inside(at: float) -> None:
    found = result(valley(at=at))
    assert found.best is not None
    assert found.lrs[found.best] == pytest.approx(at * Adam().lr, rel=1e-2)
    assert not found.at_edge
    assert len(found.places) <= 2 * REACH / 0.5 + 1 + abs(math.log10(at)) / 0.5


def test_a_sweep_has_a_limit_and_says_where_the_best_is_at_its_edge() -> None:
    found = result(valley(at=1e9))
    assert found.places[-1] == MOST / 0.5
    assert found.at_edge


def test_a_sweep_goes_down_from_where_all_diverged_and_up_from_where_nothing_moved() -> None:
    def stable_below(run: Training) -> float:
        return math.inf if run.rule.lr > Adam().lr / 50 else valley(at=1e-3)(run)

    found = result(stable_below)
    assert found.best is not None
    assert found.lrs[found.best] == pytest.approx(1e-6, rel=1e-2)

    def moves_above(run: Training) -> float:
        return START if run.rule.lr < Adam().lr * 50 else valley(at=1e3)(run)

    found = result(moves_above)
    assert found.best is not None
    assert found.lrs[found.best] == pytest.approx(1.0, rel=1e-2)
    assert found.places[0] == -REACH / 0.5


def test_a_sweep_without_all_its_records_does_not_grow() -> None:
    sweep = Sweep(TASKS[0], Member("rule", Adam()), SEEDS, 1.0)
    records = grown(sweep, valley(at=1e9))
    assert len(sweep.runs(records)) > 9
    del records[sweep.at(0)[0]]
    assert len(sweep.runs(records)) == 9
    assert sweep.result(records).places == [-1, 0, 1]
    assert sweep.result(records).missing


@pytest.mark.parametrize("steep", [0.05, 0.5, 2.0])
def test_the_width_is_that_of_the_valley(steep: float) -> None:
    # e^(steep × decades) reaches NEAR on each side; straight on logarithmic axes, so exact between places.
    expected = min(2 * math.log(NEAR) / steep, 2.0 * MOST)
    assert result(valley(steep=steep)).width() == pytest.approx(expected, rel=0.02)


def test_where_nothing_was_learned_no_width_is_told() -> None:
    found = result(lambda run: START)
    assert found.stays
    assert found.width() is None
    assert not result(valley()).stays


def test_the_default_is_held_against_the_best() -> None:
    far = result(valley(at=10.0, steep=2.0)).default()
    assert far is not None
    assert far.value == pytest.approx(math.exp(2), rel=1e-2)
    diverged = result(lambda run: math.inf if run.rule.lr == Adam().lr else valley(at=0.1)(run)).default()
    assert diverged is not None
    assert diverged.value == math.inf


def test_a_rule_made_worse_is_judged_worse_and_one_made_better_better() -> None:
    made = contest({"Lion": 2.0, "AdaMax": 0.5})
    assert verdicts(made) == {
        "SGD": {"level"}, BASE: {"level"}, "AMSGrad": {"level"}, "Lion": {"worse"}, "AdaMax": {"better"}
    }  # fmt: skip
    over = made.over("Lion")
    assert over is not None
    assert over.value == pytest.approx(2)
    assert next(iter(made.known)) == "AdaMax"
    assert summary(made)[0]["rule"] == "AdaMax"
    assert ranking(made, 0)[-1]["rule"] == "Lion"


def test_what_chance_decides_is_undecided() -> None:
    def by_seed(run: Training) -> float:
        return valley(steep=3.0)(run) * {0: 0.5, 1: 1.0, 2: 1.6}[run.seed]

    assert verdicts(contest({"Lion": by_seed}))["Lion"] == {"undecided"}


def test_what_diverges_at_every_rate_is_said_to() -> None:
    made = contest({"Lion": lambda run: math.inf})
    assert verdicts(made)["Lion"] == {"diverged"}
    assert "Lion" not in made.known
    assert ranking(made, 0)[-1]["remarks"] == "diverged at every α"


@pytest.mark.parametrize(
    ("ratio", "said"),
    [
        (None, "not measured"),
        (Estimate(math.inf), "diverged"),
        (Estimate(1.0, (0.99, 1.01)), "level"),
        (Estimate(0.9, (0.8, 0.99)), "better"),
        (Estimate(1.2, (1.1, 1.3)), "worse"),
        (Estimate(0.9, (0.8, 1.1)), "undecided"),
        (Estimate(1.2, (0.9, 1.3)), "undecided"),
    ],
)
def test_a_standing_is_that_of_the_interval(ratio: Estimate | None, said: str) -> None:
    assert standing(ratio) == said


def judged(made: Contest) -> list[str]:
    return [finding.verdict for finding in findings(made)]


def test_findings_follow_who_wins() -> None:
    # beaten; more state pays; less state costs; the defaults are near the best
    assert judged(contest({})) == ["fails", "fails", "fails", "holds"]
    assert judged(contest({"AMSGrad": 0.5, "SGD": 2.0, "Lion": 3.0})) == ["holds", "holds", "holds", "holds"]
    assert judged(contest({"AMSGrad": 2.0, "SGD": 0.5})) == ["holds", "fails", "fails", "holds"]
    assert judged(contest({name: 2.0 for name in RULES if name != BASE}))[0] == "fails"
    far = contest({name: valley(at=10.0, steep=3.0) for name in RULES})
    assert judged(far)[3] == "fails"


def test_findings_name_the_winner_and_count_all_comparisons() -> None:
    beaten, *_ = findings(contest({"AdaMax": 0.5, "Lion": 2.0}))
    assert "1 of 4 rules do: AdaMax" in beaten.measured
    assert "of 12 comparisons" in beaten.measured
    assert "3 better" in beaten.measured


def test_state_is_judged_best_beside_best() -> None:
    _, more, less, _ = findings(contest({"AdaMax": 0.5, "AMSGrad": 0.8, "SGD": 0.9}))
    assert more.measured.startswith("AMSGrad (12 bytes) ends at 1.600 [")
    assert less.measured.startswith("SGD (0 bytes) ends at 1.800 [")
    assert more.measured.endswith("cost of AdaMax (8 bytes)")
    assert less.measured.endswith("cost of AdaMax (8 bytes)")


def test_without_a_record_nothing_is_concluded() -> None:
    made = contest({"AdaMax": 0.5})
    lost = dict(made.results[0])
    lost["Lion"] = dataclasses.replace(lost["Lion"], costs=np.full_like(lost["Lion"].costs, math.nan))
    found = findings(Contest(TASKS, [lost, *made.results[1:]]))
    assert {each.verdict for each in found} == {"not measured"}
    assert all("1 of 15 sweeps lack records" in each.measured for each in found)


def test_more_bytes_pay_where_their_best_is_below_the_best_with_fewer() -> None:
    rows = {row["bytes"]: row for row in pays(contest({"Lion": 0.8, "AMSGrad": 0.5, "SGD": 1.3}))}
    assert [rows[size]["verdict"] for size in (0, 4, 8, 12)] == [
        "",
        "pays",
        "costs more, and buys nothing",
        "pays",
    ]
    assert rows[12]["best_with_fewer"] == "Lion"


def chart() -> Chart:
    return ranked(contest({"Lion": 2.0, "AdaMax": 0.5}))


def test_the_chart_lists_every_rule_by_bytes_and_then_by_cost() -> None:
    made = chart()
    assert list(reversed(made.names)) == ["SGD", "Lion", "AdaMax", BASE, "AMSGrad"]
    groups = {line.name: line for line in made.lines if line.spans is not None}
    assert list(groups) == ["0 bytes", "4 bytes", "8 bytes", "12 bytes"]
    places = {
        made.names[int(y) - 1]: x for line in groups.values() for x, y in zip(line.x, line.mean, strict=True)
    }
    assert places == pytest.approx({"SGD": 1, "Lion": 2, "AdaMax": 0.5, BASE: 1, "AMSGrad": 1})


def test_points_of_a_list_have_their_intervals_and_are_not_joined() -> None:
    traces = [trace for trace in _plot.plain(chart())["data"] if "error_x" in trace]
    assert len(traces) == 4
    assert {trace["mode"] for trace in traces} == {"markers"}
    assert traces[1]["text"] == ["2 [2, 2]"]
    layout = _plot.plain(chart())["layout"]
    assert layout["yaxis"]["ticktext"] == chart().names
    assert layout["height"] > 20 * len(chart().names)


def test_the_panel_takes_its_numbers_from_its_own_sweeps() -> None:
    panel = ZooPanel(TASKS, SEEDS, 1.0)
    runs: Any = [run for run in panel.runs() if type(run.rule) is not SGD]  # type: ignore[attr-defined]
    records = {run: record(valley(steep=3.0)(run)) for run in runs}
    whole, *_ = panel.tables(records)
    rows = {row["rule"]: row for row in whole.rows}
    assert rows["Lion"]["of_adam"] == pytest.approx(1)
    assert rows["SGD"]["of_adam"] is None
    assert {finding.verdict for finding in whole.findings} == {"not measured"}
