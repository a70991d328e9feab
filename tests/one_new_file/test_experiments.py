"""One new file is enough for a part of an experiment, as CONTRIBUTING.md says: it is added, and used.

A case is a function: `scratch.add` writes the one file, `scratch.python` or `scratch.adamas` uses it in a
process of its own, and the output of that is checked.
"""

import json
from pathlib import Path
from typing import Any

import pytest
from scratch_support import Scratch

pytest.importorskip("torch", reason="the newcomers are used with torch")


def trained(problem: str, options: str) -> str:
    """A program that trains on a problem and prints the first and the last cost."""
    return f"""
        from adamas.experiments import problems
        from adamas.experiments.runs.training import Training
        from adamas.rules import Adam

        options, data = problems.fields({problem!r}, {options})
        run = Training({problem!r}, options, data, Adam(lr=0.1), "constant", 0.0, 4, 5, seed=0)
        run.prepare()
        outcome = run.execute()
        print(data, outcome.status, outcome.epochs[0]["train_nll"], outcome.epochs[-1]["train_nll"])
        """


def check_training(output: str, data: str) -> None:
    found, status, first, last = output.split()
    assert (found, status) == (data, "done")
    assert float(last) < float(first) / 2


def test_a_data_set(scratch: Scratch) -> None:
    scratch.add(
        "experiments/datasets/newcomer.py",
        '''
        """Images that are dark or bright."""

        import numpy as np

        from . import Images, ImageSet


        def load():
            labels = np.arange(20) % 2
            pixels = np.repeat(labels[:, None], 4, axis=1).astype(np.float32)
            return Images(pixels, labels, pixels, labels)


        IMAGES = ImageSet(lambda: "newcomer-1", load, (1, 2, 2))
        ''',
    )
    check_training(scratch.python(trained("images_softmax", '{"data": "newcomer"}')), "newcomer-1")


PROBLEM = '''
"""A quadratic bowl."""

import torch


class Bowl:
    """The cost ½ |θ|², with a measure that the command line knows nothing of."""

    examples = 8

    def __init__(self, size):
        self.parameters = [torch.full((size,), 1.0, requires_grad=True)]

    def cost(self, batch, noise):
        return (self.parameters[0] ** 2).sum() / 2

    def evaluate(self):
        return {"train_nll": float(self.cost(None, None)), "depth": 1.0}


def identity(size):
    return "bowl"


def prepare(size):
    pass


def build(seed, size):
    return Bowl(size)
'''


def test_a_problem(scratch: Scratch) -> None:
    scratch.add("experiments/problems/newcomer.py", PROBLEM)
    check_training(scratch.python(trained("newcomer", '{"size": 3}')), "bowl")


def test_an_online_problem(scratch: Scratch) -> None:
    scratch.add(
        "experiments/online_problems/newcomer.py",
        '''
        """Costs |x - 1|, from 0."""


        class Distance:
            """The problem."""

            start, period, gradient_bound = 0.0, 1, 1.0

            def cost(self, t, point):
                return abs(point - 1)

            def gradient(self, t, point):
                return 1.0 if point > 1 else -1.0

            def project(self, point):
                return point

            def best(self, rounds):
                return 1.0, 0.0


        def build(seed, rounds):
            return Distance()
        ''',
    )
    output = scratch.python(
        """
        from adamas.experiments.runs.online import Online
        from adamas.rules import Adam

        run = Online("newcomer", (), Adam(lr=0.5), 0.9, 1000, seed=0)
        print(run.configuration()["stream"], run.execute().epochs[-1]["average_regret"])
        """
    )
    name, regret = output.split()
    assert name == "newcomer"
    assert 0 < float(regret) < 0.1


def test_a_figure(scratch: Scratch) -> None:
    scratch.add(
        "experiments/figures/newcomer.py",
        '''
        """Two optimizers that no other figure has, on the digits."""

        from adamas.rules import Adam, Lion

        from . import Figure
        from ._compare import Claim, Comparison
        from ._training import Grid, TrainingPanel

        GRIDS = {"Lion": Grid([Lion(lr=1e-3)]), "Slow Adam": Grid([Adam(lr=1e-5)])}
        CLAIM = Claim("Lion is faster", "here", [Comparison("Lion", "Slow Adam", 0, 0.9)])
        DIGITS = {"data": "digits"}
        PANEL = TrainingPanel(
            "New panel", "digits", "cost", "images_softmax", DIGITS, 0.0, 128, 2, [0], GRIDS, [CLAIM]
        )
        FIGURE = Figure("The new figure", dict.fromkeys(("demo", "quick", "paper"), [PANEL]), in_paper=False)
        ''',
    )
    command = ("reproduce", "newcomer", "--preset", "demo", "--jobs", "2", "--results", scratch.results())
    shown = json.loads(scratch.adamas(*command, "--json"))
    (table,) = shown["tables"]
    assert [row["optimizer"] for row in table["rows"]] == ["Lion", "Slow Adam"]
    assert [finding["verdict"] for finding in table["findings"]] == ["holds"]
    png, svg = (Path(path).read_bytes() for path in shown["files"])
    assert png.startswith(b"\x89PNG")
    assert b"<svg" in svg
    page = Path(shown["page"]).read_text(encoding="utf-8")
    assert "The new figure" in page
    assert '"name": "Lion, \\u03b1 = 0.001/\\u221at"' in page
    assert "newcomer" in scratch.adamas("reproduce", "--help")


def claim(scratch: Scratch) -> dict[str, Any]:
    """The only row of `adamas claims newcomer`."""
    output = scratch.adamas("claims", "newcomer", "--jobs", "1", "--json", "--results", scratch.results())
    (row,) = json.loads(output)
    assert row["name"] == "newcomer"
    return dict(row)


def test_a_claim(scratch: Scratch) -> None:
    scratch.add(
        "experiments/claims/newcomer.py",
        '''
        """One and one."""

        from ..findings import verdict
        from . import Claim, Measured

        TWO = Measured("1 + 1 = 2", verdict([1 + 1 == 2]))
        CLAIM = Claim("one and one is two", "section 1", lambda preset: TWO)
        ''',
    )
    assert (claim(scratch)["measured"], claim(scratch)["verdict"]) == ("1 + 1 = 2", "holds")


def test_a_claim_made_after_the_paper(scratch: Scratch) -> None:
    scratch.add(
        "experiments/after/newcomer.py",
        '''
        """One and one: two by counting."""

        from ..findings import verdict
        from . import Comparison, Learned, Value

        TWO = Value("1 + 1", 2.0, float(len([0, 0])))
        COMPARISON = Comparison("1 + 1 is 2", verdict([TWO.predicted == TWO.measured]), [TWO])
        CLAIM = Learned("one and one is two", "found here", "1 + 1 = 2", lambda: COMPARISON)
        ''',
    )
    (row,) = json.loads(scratch.adamas("claims", "--after", "newcomer", "--json"))
    assert (row["formula"], row["verdict"]) == ("1 + 1 = 2", "holds")
    assert row["values"] == [{"name": "1 + 1", "predicted": 2.0, "measured": 2.0}]


def test_a_claim_by_runs(scratch: Scratch) -> None:
    scratch.add(
        "experiments/claims/newcomer.py",
        '''
        """Adam lowers the cost."""

        from adamas.rules import Adam

        from .. import problems
        from ..findings import verdict
        from ..runs.training import Training
        from . import Measured, RunClaim


        def runs(preset):
            fields = problems.fields("images_softmax", {"data": "digits"})
            return [Training("images_softmax", *fields, Adam(lr=0.1), "constant", 0.0, 128, 2, seed=0)]


        def judge(preset, records):
            (record,) = (records[run] for run in runs(preset))
            first, last = (record["epochs"][place]["train_nll"] for place in (0, -1))
            return Measured(f"from {first:.2f} to {last:.2f}", verdict([last < first]))


        CLAIM = RunClaim("Adam lowers the cost", "section 1", runs, judge)
        ''',
    )
    assert claim(scratch)["verdict"] == "holds"
    (stored,) = Path(scratch.results(), "runs").iterdir()
    written = stored.stat().st_mtime_ns
    assert claim(scratch)["measured"].startswith("from 2.30 to ")
    assert stored.stat().st_mtime_ns == written


def test_an_engine(scratch: Scratch) -> None:
    scratch.add(
        "experiments/execution/engines/newcomer.py",
        '''
        """The process of the command itself."""

        import contextlib

        from . import Started, attempt, ended


        def _execute(source):
            while jobs := source():
                for job in jobs:
                    yield from map(Started, job.runs)
                    yield from ended(job, attempt(job))


        @contextlib.contextmanager
        def connect(jobs, address):
            yield _execute
        ''',
    )
    arguments = ("claims", "little_tuning", "--engine", "newcomer", "--json", "--results", scratch.results())
    (row,) = json.loads(scratch.adamas(*arguments))
    assert row["verdict"] != "not measured"
    assert len(list(Path(scratch.results(), "runs").iterdir())) == 18
