"""`adamas claims`, on a figure and a claim that are made up."""

import dataclasses
import json
import sys
from pathlib import Path
from typing import get_args

import pytest
from typer.testing import CliRunner

from adamas.cli import app
from adamas.cli._output import VERDICTS
from adamas.cli.claims import WORDS
from adamas.experiments import claims
from adamas.experiments.claims import Measured
from adamas.experiments.findings import Preset, Verdict


def command(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["claims", *arguments], catch_exceptions=False)
    return result.exit_code, result.stdout, result.stderr


def test_claims_are_those_of_the_paper_s_figures_and_of_the_package(made_up: Path) -> None:
    code, out, err = command("--results", str(made_up), "--json")
    assert (code, err) == (0, "")
    rows = json.loads(out)
    assert [(row["name"], row["claim"], row["verdict"]) for row in rows] == [
        ("counterexample", "Adam & SGD are <b>alike</b>", "fails"),
        ("counterexample", "SGD is slower", "holds"),
        ("one", "one is one", "holds"),
    ]
    assert all(
        row.keys() == {"name", "table", "preset", "claim", "source", "measured", "verdict"} for row in rows
    )
    assert all(row["verdict"] in get_args(Verdict) for row in rows)


COUNTED = "3 claims: 2 hold, 0 hold here only partly, 0 undecided, 1 fail, 0 not measured\n"


def test_a_claim_is_a_line_and_the_rest_is_told_on_request(made_up: Path) -> None:
    code, out, _ = command("--results", str(made_up))
    assert code == 0
    _, _, *lines = out.split("\n\n")[0].splitlines()
    assert [line.split()[:2] for line in lines] == [
        ["fails", "counterexample"],
        ["holds", "counterexample"],
        ["holds", "one"],
    ]
    assert "<b>alike</b>" in lines[0]
    assert not any(text in out for text in ("section 0", "5.00 [", "1 = 1"))
    assert COUNTED in out
    code, out, _ = command("--results", str(made_up), "--long")
    assert code == 0
    assert all(
        text in out
        for text in (
            "fails: Adam & SGD are <b>alike</b>",
            "source: section 0",
            "5.00 [5.00, 5.00] ×",
            "1 = 1",
        )
    )
    assert out.endswith(COUNTED)


@pytest.mark.parametrize(
    ("options", "names"),
    [
        (["fails"], ["counterexample"]),
        (["holds"], ["counterexample", "one"]),
        (["partly", "unmeasured"], []),
        (["fails", "holds"], ["counterexample", "counterexample", "one"]),
    ],
)
def test_a_verdict_keeps_to_its_claims(made_up: Path, options: list[str], names: list[str]) -> None:
    asked = [text for option in options for text in ("--verdict", option)]
    code, out, _ = command("--results", str(made_up), "--json", *asked)
    assert (code, [row["name"] for row in json.loads(out)]) == (0, names)
    code, out, _ = command("--results", str(made_up), *asked)
    assert COUNTED in out  # of all
    assert all(("one is one" in out) == ("one" in names) for _ in names)


def test_every_verdict_can_be_asked_for_and_has_a_colour() -> None:
    assert sorted(WORDS.values()) == sorted(get_args(Verdict))
    assert VERDICTS.keys() == set(get_args(Verdict))


def test_names_keep_to_some(made_up: Path) -> None:
    code, out, _ = command("one", "--results", str(made_up), "--json")
    assert (code, [row["name"] for row in json.loads(out)]) == (0, ["one"])


def test_an_unknown_name_is_told_with_those_there_are(made_up: Path) -> None:
    code, out, err = command("two", "--results", str(made_up))
    known = "figures: counterexample, not_paper; claims: one"
    assert (code, out, err) == (2, "", f"adamas: unknown figure or claim 'two'; {known}\n")


def test_a_claim_that_raises_is_not_measured_and_the_rest_goes_on(
    made_up: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measure(preset: Preset) -> Measured:
        raise ValueError("on purpose")

    broken = dataclasses.replace(claims.load("one"), measure=measure)
    monkeypatch.setattr(sys.modules["adamas.experiments.claims.one"], "CLAIM", broken)
    code, out, err = command("--results", str(made_up), "--json")
    assert code == 1
    assert [row["verdict"] for row in json.loads(out)] == ["fails", "holds", "not measured"]
    assert "ValueError: on purpose" in err
    assert "1 runs or claims raised" in err
