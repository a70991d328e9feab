"""The scratch copy that each case adds its file to."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from scratch_support import PACKAGE, Scratch, files


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a cache that all copies share, so that a kernel is compiled once."""
    return tmp_path_factory.mktemp("scratch")


@pytest.fixture
def scratch(shared: Path, request: pytest.FixtureRequest) -> Iterator[Scratch]:
    """A fresh copy; at the end it has exactly one file more than the package."""
    made = Scratch(shared / request.node.name)
    shutil.copytree(PACKAGE, made.folder / "adamas", ignore=shutil.ignore_patterns("__pycache__"))
    yield made
    assert len(files(made.folder / "adamas") - files(PACKAGE)) == 1
