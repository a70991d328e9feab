"""Records stay those of their runs when names in the code change, and when a rule gains a field."""

import dataclasses
import inspect
import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from adamas import rules
from adamas.experiments import claims, problems, reproduce
from adamas.experiments.claims import Measured, RunClaim
from adamas.experiments.figures.counterexample import CounterexamplePanel
from adamas.experiments.findings import Preset
from adamas.experiments.records import Records
from adamas.experiments.records.store import Store, key
from adamas.experiments.runs import Run
from adamas.experiments.runs.online import Online
from adamas.experiments.runs.sfo import SumOfFunctions
from adamas.experiments.runs.training import Training
from adamas.rules import Adam, Rule

# Written when an online problem was a "stream", `reddi` was "rare", and `records_per_epoch` was "parts";
# that of SFO by its version 2.
OLD = Store(Path(__file__).parent / "old_records")
DIGITS = problems.fields("images_softmax", {"data": "digits"})
TRAINING = Training("images_softmax", *DIGITS, Adam(lr=0.1), "inverse_sqrt", 1e-4, 512, 1, 0)
MLP = problems.fields("images_mlp", {"data": "digits", "width": 4, "count": 60})
THREE = {"large": 3.0, "small": 1.0, "period": 3, "order": "in turn"}
RUNS: dict[str, Run] = {
    "e91591d3bb4b81831232b6e5a9b2369fb742e3241a22309a84d70eea2fa57a29": TRAINING,
    "b00335cdaa56536bd8976c3440058e5ae7cea92dbcfd05bf77fa64bb274bde34": dataclasses.replace(
        TRAINING, records_per_epoch=2, phase=(("average", 0.9),), observers=("average",)
    ),
    "959a026a5a615b37484abd0b91ccef2d37a5099bb8ca533dede1b77a97c76f8f": Online(
        "reddi", tuple(sorted(THREE.items())), Adam(1.0, 0.25, 0.1), 0.9, 30, 0, per_decade=2
    ),
    "3c5e96379cc75bba12ad165b8bcd1684f76d3d7629f636163664a66ad7ab2e52": SumOfFunctions(
        "images_mlp", *MLP, 1e-2, 32, 1, 0
    ),
}


@pytest.mark.parametrize(("name", "run"), RUNS.items(), ids=lambda each: type(each).__name__)
def test_an_old_record_is_that_of_the_same_run_and_has_the_same_measures(name: str, run: Run) -> None:
    assert key(run.configuration()) == name
    found = OLD.find([run])[run]
    assert found == json.loads((OLD.folder / "runs" / f"{name}.json").read_text())
    now = run.execute().epochs
    for before, after in zip(found["epochs"], now, strict=True):
        assert before.keys() <= after.keys()
    assert [each["epoch"] for each in now] == [each["epoch"] for each in found["epochs"]]


def test_every_old_record_is_looked_for() -> None:
    assert {path.stem for path in (OLD.folder / "runs").iterdir()} == RUNS.keys()


def test_the_bound_is_the_same_with_a_record_that_lacks_its_constants() -> None:
    panel = CounterexamplePanel("(b) title", "note", {**THREE, "edges": "flat"}, 0.25, 0.1, 0.9, rounds=300)
    now = {run: dataclasses.asdict(run.execute()) for run in panel.runs()}
    constants = {"gradient_bound", "dimensions"}
    before = {
        run: {**record, "epochs": [{k: v for k, v in each.items() if k not in constants} for each in epochs]}
        for run, record in now.items()
        for epochs in [record["epochs"]]
    }
    assert panel.tables(before) == panel.tables(now)


# A field that a rule gains.

RULES = [each for each in vars(rules).values() if inspect.isclass(each) and issubclass(each, Rule)]
RULES = [each for each in RULES if each is not Rule]


def grown(kind: type[Rule], added: float = 0.5) -> type[Any]:
    """The rule with one more hyperparameter, of this default."""
    more = [("added", float, dataclasses.field(default=added))]
    return dataclasses.make_dataclass(kind.__name__, more, bases=(kind,), frozen=True)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path)
    store.make()
    return store


def write(store: Store, run: Run, cost: float = 1.0) -> None:
    measured = {"status": "done", "epochs": [{"epoch": 0, "cost": cost}], "seconds": 1.0}
    store.write(run.configuration(), measured)


def runs_with(rule: Rule) -> list[Run]:
    options = tuple(sorted(THREE.items()))
    return [dataclasses.replace(TRAINING, rule=rule), Online("reddi", options, rule, 1.0, 30, 0)]


@pytest.mark.parametrize("kind", RULES)
def test_a_run_is_found_when_its_rule_has_gained_a_field(store: Store, kind: type[Rule]) -> None:
    before, after = runs_with(kind(lr=0.25)), runs_with(grown(kind)(lr=0.25))
    for run in before:
        write(store, run)
    assert [key(run.configuration()) for run in after] != [key(run.configuration()) for run in before]
    found = store.find(after)
    assert [found[run]["configuration"] for run in after] == [run.configuration() for run in before]


def test_a_run_that_sets_the_new_field_is_another(store: Store) -> None:
    write(store, TRAINING)
    another = dataclasses.replace(TRAINING, rule=grown(Adam)(lr=0.1, added=0.25))
    assert store.find([another]) == {}


def test_a_run_of_another_rule_or_value_is_not_taken_for_it(store: Store) -> None:
    write(store, dataclasses.replace(TRAINING, rule=Adam(lr=0.2)))
    write(store, dataclasses.replace(TRAINING, rule=rules.AdaBelief(lr=0.1)))
    assert store.find([dataclasses.replace(TRAINING, rule=grown(Adam)(lr=0.1))]) == {}


def test_the_record_of_the_run_itself_goes_before_an_older_one(store: Store) -> None:
    run = dataclasses.replace(TRAINING, rule=grown(Adam)(lr=0.1))
    write(store, TRAINING, cost=1.0)
    write(store, run, cost=2.0)
    assert store.find([run])[run]["epochs"][0]["cost"] == 2.0


def test_a_file_that_is_no_record_is_not_in_the_way(store: Store) -> None:
    write(store, TRAINING)
    (store.folder / "runs" / f"{'0' * 64}.json").write_text("{")
    run = dataclasses.replace(TRAINING, rule=grown(Adam)(lr=0.1))
    assert store.find([run]).keys() == {run}


class NoWorkers:
    """Workers that must not be asked for."""

    jobs, device = 1, "cpu"

    def connect(self) -> None:
        raise AssertionError("a run that is stored is to be executed again")


def test_a_claim_whose_rule_has_gained_a_field_is_judged_by_the_stored_run(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = dataclasses.replace(TRAINING, rule=grown(Adam)(lr=0.1))
    write(store, TRAINING, cost=0.125)

    def judge(preset: Preset, records: Records) -> Measured:
        return Measured(f"cost {records[run]['epochs'][-1]['cost']}", "holds")

    claim = RunClaim("claim", "section 1", lambda preset: [run], judge)
    monkeypatch.setattr(claims, "load", lambda name: claim)
    console: Any = Console(file=io.StringIO())
    found = reproduce.measure([], ["any"], "demo", store, NoWorkers(), console)  # type: ignore[arg-type]
    assert [row.finding.measured for row in found.findings] == ["cost 0.125"]
