"""Records as tables, from runs of several kinds, one that failed, and a file that is no record."""

import csv
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from adamas.cli import app
from adamas.experiments.records import tables
from adamas.experiments.records.store import Store, key, record

ADAM: dict[str, Any] = {
    "problem": "images",
    "options": {"data": "digits"},
    "rule": {"name": "Adam", "lr": 0.1, "eps": 1e-8},
    "seed": 0,
    "epochs": 2,
}
LARGER = {**ADAM, "rule": {**ADAM["rule"], "lr": 1}}
OTHER = {"kind": "sums", "seed": 2**70, "status": ["of", "its own"], "options": {"data": 5}}
BROKEN = {**ADAM, "rule": {"name": "SGD", "lr": 0.1}}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "results")
    store.make()
    start, end = {"epoch": 0, "cost": None, "error": 0.9}, {"epoch": 1.0, "cost": 1 / 3, "error": 0.1}
    done = {"epochs": [start, end], "clock": [0.0, 1.5], "seconds": 2.0}
    store.write(ADAM, {"status": "done", **done})
    store.write(LARGER, {"status": "diverged", **done})
    store.write(OTHER, {"status": "done", "epochs": [{"epoch": 3, "regret": 1}], "seconds": 1.0, "more": [1]})
    store.write(BROKEN, {"status": "failed", "traceback": "Traceback\n  here\nValueError: on purpose\n"})
    return store


def results(store: Store, *options: str) -> tuple[int, str, str]:
    arguments = ["results", "--results", str(store.folder), *options]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    return result.exit_code, result.stdout, result.stderr


def test_the_list_has_a_row_for_every_run(store: Store) -> None:
    code, out, err = results(store)
    assert (code, err) == (0, "")
    for configuration in (ADAM, LARGER, OTHER, BROKEN):
        assert key(configuration)[:8] in out
    for text in ("Adam lr 0.1", "Adam lr 1", "images", "sums", "digits", "diverged", "failed", "ValueError:"):
        assert text in out
    assert "eps" not in out  # which is the same wherever Adam was used
    assert "4 runs with python" in out


def test_runs_of_one_problem_are_a_table_below_what_they_share(store: Store) -> None:
    _, out, _ = results(store)
    heading, head, _, first, second, *_ = out[out.index("images") :].splitlines()
    assert heading == "images (data digits), epochs 2, seed 0"
    assert head.split() == ["run", "rule", "status", "epoch", "cost", "error", "seconds", "failure"]
    assert first.split()[1:5] == ["Adam", "lr", "0.1", "done"]
    assert second.split()[1:5] == ["Adam", "lr", "1", "diverged"]


def test_rows_are_in_the_order_of_their_numbers(store: Store) -> None:
    for lr in (31.6, 3.16, 10.0):
        store.write(
            {**ADAM, "rule": {**ADAM["rule"], "lr": lr}}, {"status": "done", "epochs": [], "seconds": 1.0}
        )
    _, out, _ = results(store)
    assert [line.split()[3] for line in out.splitlines() if " Adam lr " in line] == [
        "0.1",
        "1",
        "3.16",
        "10",
        "31.6",
    ]


def test_a_run_is_shown_whole_with_its_file(store: Store) -> None:
    for configuration, folder in ((ADAM, "runs"), (BROKEN, "failures")):
        name = key(configuration)
        code, out, err = results(store, name[:6])
        assert (code, err) == (0, "")
        assert name in out.split()
        assert str(store.folder / folder / f"{name}.json") in out.splitlines()
    assert "ValueError: on purpose" in out
    code, out, _ = results(store, key(ADAM)[:6], key(OTHER)[:6], "--json")
    assert {row["run"] for row in json.loads(out)} == {key(ADAM), key(OTHER)}
    assert results(store, "x") == (
        2,
        "",
        "adamas: no run begins with 'x': `adamas results` lists those there are\n",
    )


def test_names_are_as_long_as_they_must_be_to_differ() -> None:
    assert tables._shortest(["12345678aa", "12345678ab", "2234567800"]) == 10
    assert tables._shortest(["1234567800", "2234567800"]) == 8


def test_json_has_the_last_measures_of_every_run(store: Store) -> None:
    code, out, _ = results(store, "--json")
    shown = {row["run"]: row for row in json.loads(out)}
    assert code == 0
    assert shown.keys() == {key(configuration) for configuration in (ADAM, LARGER, OTHER, BROKEN)}
    assert shown[key(ADAM)]["last"] == {"epoch": 1.0, "cost": 1 / 3, "error": 0.1}
    assert shown[key(ADAM)]["configuration"] == ADAM
    assert (shown[key(BROKEN)]["status"], shown[key(BROKEN)]["error"]) == ("failed", "ValueError: on purpose")


def test_csv_has_a_row_for_every_number(store: Store) -> None:
    code, out, err = results(store, "--format", "csv")
    assert (code, err) == (0, "")
    rows = list(csv.DictReader(out.splitlines()))
    assert len(rows) == 4 + 4 + 1 + 1
    adam = [row for row in rows if row["run"] == key(ADAM)]
    assert [(row["epoch"], row["clock"], row["measure"], row["value"]) for row in adam] == [
        ("0", "0.0", "cost", ""),
        ("0", "0.0", "error", "0.9"),
        ("1.0", "1.5", "cost", repr(1 / 3)),
        ("1.0", "1.5", "error", "0.1"),
    ]
    for row in adam:
        assert (row["problem"], row["options.data"], row["rule.lr"]) == ("images", "digits", "0.1")
        assert (row["epochs"], row["status"], row["seconds"]) == ("2", "done", "2.0")
        assert row["version.torch"] == record({}, {})["versions"]["torch"]
    assert {row["rule.lr"] for row in rows if row["run"] == key(LARGER)} == {
        "1.0"
    }  # as others are no integers
    [other] = [row for row in rows if row["kind"] == "sums"]
    assert (other["configuration.status"], other["status"]) == ('["of", "its own"]', "done")
    assert (other["options.data"], other["measure"], other["value"], other["clock"]) == (
        "5",
        "regret",
        "1",
        "",
    )
    [broken] = [row for row in rows if row["status"] == "failed"]
    assert (broken["error"], broken["measure"], broken["value"]) == ("ValueError: on purpose", "", "")


def test_parquet_has_the_same_numbers_in_types(store: Store, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "table.parquet"
    assert results(store, "--format", "parquet", "--output", str(path)) == (0, "", "")
    table = parquet.read_table(path)
    types = {name: str(table.schema.field(name).type) for name in table.column_names}
    assert (types["rule.lr"], types["epochs"], types["value"], types["problem"]) == (
        "double",
        "int64",
        "double",
        "string",
    )
    assert types["seed"] == "double"  # one of them is too large for an integer
    assert types["options.data"] == "string"
    rows = table.to_pylist()
    assert [row["value"] for row in rows if row["run"] == key(ADAM)] == [None, 0.9, 1 / 3, 0.1]
    assert {path.name for path in tmp_path.iterdir()} == {"results", "table.parquet"}


def test_what_is_no_record_is_named_and_the_rest_is_shown(store: Store) -> None:
    path = store.path(ADAM)
    path.write_text("{")
    stray = store.folder / "runs" / "stray.json"
    stray.write_bytes(store.path(LARGER).read_bytes())
    code, out, err = results(store, "--format", "csv")
    assert code == 1
    assert len(list(csv.DictReader(out.splitlines()))) == 4 + 1 + 1
    assert f"adamas: {path} cannot be read as a record" in err
    assert f"adamas: {stray} is not a record of this run: its configuration is another one" in err


def test_a_run_that_failed_and_then_succeeded_is_there_once(store: Store) -> None:
    failure = next((store.folder / "failures").iterdir())
    content = failure.read_bytes()
    store.write(BROKEN, {"status": "done", "epochs": [], "seconds": 1.0})
    assert not failure.exists()
    failure.write_bytes(content)  # as when the command was killed between the two
    records, errors = store.every()
    assert [each["status"] for each in records if each["configuration"] == BROKEN] == ["done"]
    assert (len(records), errors) == (4, [])


def test_an_empty_folder_says_so(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.make()
    assert results(store) == (0, "", f"no run is recorded in {tmp_path}\n")
    assert results(store, "--json") == (0, "[]\n", "")
    code, out, _ = results(store, "--format", "csv")
    assert (code, out) == (0, "run,status,error,seconds,epoch,clock,measure,value\n")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--json", "--format", "csv"], "leave out --format csv"),
        (["--output", "file"], "--output is for --format csv or parquet"),
        (["--results", "/nowhere"], "there are no results in /nowhere. Name another folder (--results)"),
        (["--format", "csv", "--output", f"/nowhere{os.sep}file"], "/nowhere"),
    ],
)
def test_what_makes_no_sense_is_named(store: Store, options: list[str], message: str) -> None:
    code, out, err = results(store, *options)
    assert (code, out) == (2, "")
    assert err.startswith("adamas: ")
    assert message in err


def test_a_missing_pyarrow_is_named_with_its_extra(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert results(store, "--format", "parquet") == (
        2,
        "",
        "adamas: Parquet needs the package 'pyarrow': pip install -e '.[parquet]' in a clone of adamas\n",
    )
