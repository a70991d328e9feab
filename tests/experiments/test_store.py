import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adamas._tools.files import write_atomically
from adamas._tools.versions import versions
from adamas.experiments import ExperimentError
from adamas.experiments.records.store import SCHEMA, Store, key

CONFIGURATION: dict[str, Any] = {"rule": {"name": "Adam", "lr": 0.001}, "seed": 0, "problem": "p"}
MEASURED = {"status": "done", "epochs": [{"epoch": 0, "cost": None}], "seconds": 1.5}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "a" / "results")
    store.make()
    return store


def test_a_key_stays_what_it_was() -> None:
    assert key(CONFIGURATION) == "439628d3fbaacce97d1cfb6a70e861c8c8d0ab2ab1d512d00665d42d32983968"


values = st.integers() | st.text(max_size=3) | st.floats(allow_nan=False, allow_infinity=False)


@given(st.dictionaries(st.text(max_size=3), values, min_size=2, max_size=4))
def test_a_key_depends_on_content_not_on_order(configuration: dict[str, Any]) -> None:
    assert key(dict(reversed(configuration.items()))) == key(configuration)
    assert key(json.loads(json.dumps(configuration))) == key(configuration)
    assert key({**configuration, "another": 1}) != key(configuration) or "another" in configuration


def test_a_record_comes_back_with_what_it_was_run_on(store: Store) -> None:
    assert store.read(CONFIGURATION) is None
    store.write(CONFIGURATION, MEASURED)
    expected = {"schema": SCHEMA, "configuration": CONFIGURATION, "versions": versions(), **MEASURED}
    assert store.read(CONFIGURATION) == expected
    packages = {"adamas", "numpy", "numba", "scikit-learn", "scipy", "torch"}
    assert versions().keys() == {"python", *packages}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda record: {**record, "schema": SCHEMA + 1}, f"its schema is {SCHEMA + 1}, expected {SCHEMA}"),
        (lambda record: {**record, "configuration": {}}, "its configuration is another one"),
        (lambda record: {"schema": SCHEMA}, "it lacks configuration, epochs, seconds, status, versions"),
        (lambda record: [record], "it is not an object"),
    ],
)
def test_another_record_under_the_name_is_refused(store: Store, change: Any, reason: str) -> None:
    store.write(CONFIGURATION, MEASURED)
    path = store.path(CONFIGURATION)
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    with pytest.raises(ExperimentError) as error:
        store.read(CONFIGURATION)
    assert str(error.value) == f"{path} is not a record of this run: {reason}. Delete it to run it again"


def test_a_record_cut_anywhere_is_refused(store: Store) -> None:
    store.write(CONFIGURATION, MEASURED)
    path = store.path(CONFIGURATION)
    whole = path.read_bytes().rstrip()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(ExperimentError, match=f"{path} cannot be read as a record.*Delete it"):
            store.read(CONFIGURATION)


def test_a_value_that_is_no_json_is_never_stored(store: Store) -> None:
    with pytest.raises(ValueError, match="JSON"):
        store.write(CONFIGURATION, {**MEASURED, "seconds": float("nan")})
    assert list(store.folder.rglob("*.*")) == []


def test_a_folder_that_cannot_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    folder = tmp_path / "file" / "results"
    with pytest.raises(
        ExperimentError, match=f"results cannot be written to {folder}: Not a directory.*--results"
    ):
        Store(folder).make()


def test_writing_replaces_whole_files_and_leaves_no_others(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for content in (b"first", b"second"):
        write_atomically(path, content)
        assert path.read_bytes() == content
    assert list(tmp_path.iterdir()) == [path]


def test_a_write_that_fails_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"first")

    def fail(descriptor: int) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        write_atomically(path, b"second")
    assert path.read_bytes() == b"first"
    assert list(tmp_path.iterdir()) == [path]
