"""What the tests of the experiments share."""

import contextlib
import dataclasses
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import grid_support
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from adamas.cli import app
from adamas.experiments import after, claims, figures
from adamas.experiments.after import Comparison as Compared
from adamas.experiments.after import Learned, Value
from adamas.experiments.charts import BLUE, Chart, Line, Style, View
from adamas.experiments.figures import Figure
from adamas.experiments.figures._compare import Claim, Comparison
from adamas.experiments.figures._training import Grid, TrainingPanel
from adamas.experiments.records.store import Store
from adamas.rules import SGD, Adam


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """As in the worker processes: more only wait for each other on problems as small as these."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


GRIDS = {
    "Adam": Grid([Adam(lr=0.1), Adam(lr=0.2)]),
    "SGD Nesterov": Grid([SGD(lr=1.0), SGD(lr=2.0)], "constant"),
}
SAID = [
    Claim("Adam & SGD are <b>alike</b>", "section 0", [Comparison("SGD Nesterov", "Adam", 0.5, 2.0)]),
    Claim("SGD is slower", "section 1", [Comparison("SGD Nesterov", "Adam", 1.5, 9.0)]),
]
DIGITS = {"data": "digits"}
PANEL = TrainingPanel(
    "Panel",
    "SYNTHETIC",
    "cost",
    "images_softmax",
    DIGITS,
    0.0,
    1,
    2,
    [0, 1],
    GRIDS,
    SAID,
    other=View("Linear axes"),
)
FIGURE = Figure("Made up & <i>escaped</i>", {"demo": [PANEL]})
CURVE = Line("measured", np.arange(1.0, 4.0), np.array([[1.0, 2.0, 4.0]]), Style(BLUE))
COMPARED = Compared(
    "0.51 is near ½",
    "holds",
    [Value("x", 0.5, 0.51), Value("y", None, 7.0)],
    [Chart("A late curve", "", "step", "y", [CURVE])],
)
LEARNED = Learned("x is a half", "Nobody 2030", "x = ½ <x>", lambda: COMPARED, read=False)
CLAIM = claims.Claim("one is one", "section 2", lambda preset: claims.Measured("1 = 1", "holds"))


@contextlib.contextmanager
def world(folder: Path) -> Iterator[Path]:
    """A results folder with the records of the only figure of the paper, `counterexample`; beside it
    there are a figure `not_paper`, a claim `one` and a claim `late`, made after the paper, and nothing else.
    """
    made: dict[ModuleType, dict[str, Any]] = {
        figures: {"counterexample": FIGURE, "not_paper": dataclasses.replace(FIGURE, in_paper=False)},
        claims: {"one": CLAIM},
        after: {"late": LEARNED},
    }
    store = Store(folder / "results")
    store.make()
    rest = dict.fromkeys(("train_nll", "test_nll", "test_error"), 0.5)
    for place, run in enumerate(PANEL.runs()):
        costs = (None, 3.0 + place, 2.0 + place, 1.0 + place)
        epochs = [{"epoch": epoch, "cost": cost, **rest} for epoch, cost in enumerate(costs)]
        store.write(run.configuration(), {"status": "done", "epochs": epochs, "seconds": 1.0})
    with pytest.MonkeyPatch.context() as patch:
        for package, values in made.items():
            path = folder / package.__name__
            path.mkdir()
            for name, value in values.items():
                (path / f"{name}.py").touch()  # to be found; what is loaded is this:
                module = ModuleType(f"{package.__name__}.{name}")
                module.FIGURE = module.CLAIM = value  # type: ignore[attr-defined]
                patch.setitem(sys.modules, module.__name__, module)
            patch.setattr(package.__spec__, "submodule_search_locations", [str(path)])
        yield store.folder


@pytest.fixture
def made_up(tmp_path: Path) -> Iterator[Path]:
    """See `world`."""
    with world(tmp_path) as folder:
        yield folder


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of everything in a `world`."""
    with world(tmp_path_factory.mktemp("page")) as folder:
        command = ["reproduce", "all", "--results", str(folder)]
        result = CliRunner().invoke(app, command, catch_exceptions=False)
    assert (result.exit_code, result.stderr) == (0, "")
    assert str(folder / "all-demo.html") in result.stdout
    return folder / "all-demo.html"


@pytest.fixture(scope="session")
def command(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The command of `grid_support`."""
    return grid_support.make(tmp_path_factory.mktemp("command"))


@pytest.fixture(scope="session")
def results(command: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of that command, when nothing disturbed it."""
    folder = tmp_path_factory.mktemp("undisturbed")
    process = grid_support.start(command, folder)
    output, errors = process.communicate()
    assert process.returncode == 0, errors
    assert errors.startswith(f"{grid_support.RUNS} runs to do, 0 already stored\n")
    assert f"[{grid_support.RUNS}/{grid_support.RUNS}]" in errors
    shown = json.loads(output)
    assert [Path(file).name for file in shown["files"]] == ["tiny-demo.png", "tiny-demo.svg"]
    assert all(Path(file).stat().st_size > 1000 for file in shown["files"])
    assert len(grid_support.records(folder)) == grid_support.RUNS
    return folder
