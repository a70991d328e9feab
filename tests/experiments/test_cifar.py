import dataclasses
import hashlib
import io
import os
import pickle
import tarfile
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adamas.experiments import ExperimentError, datasets
from adamas.experiments.datasets import _download, cifar10

COUNT = 3  # images in the batches made here
PATH = Path("folder") / "data_batch_1"


def short(text: bytes) -> bytes:
    return b"U" + bytes([len(text)]) + text  # a string of Python 2


def number(value: int) -> bytes:
    return b"J" + value.to_bytes(4, "little", signed=True)


def batch(seed: int = 0, count: int = COUNT, kind: bytes = b"u1", name: bytes = b"_reconstruct") -> bytes:
    """A batch in the published form: protocol 2, strings of Python 2, an array of NumPy 1."""
    random = np.random.default_rng(seed)
    labels = b"".join(number(int(label)) for label in random.integers(0, 10, count))
    array = (
        b"cnumpy.core.multiarray\n" + name + b"\n(cnumpy\nndarray\n(" + number(0) + b"t" + short(b"b") + b"tR"
    )
    dtype = b"cnumpy\ndtype\n(" + short(kind) + number(0) + number(1) + b"tR"
    dtype += b"(" + number(3) + short(b"|") + b"NNN" + number(-1) + number(-1) + number(0) + b"tb"
    content = random.bytes(count * 3072)
    raw = b"T" + len(content).to_bytes(4, "little") + content
    shape = b"(" + number(count) + number(3072) + b"t"
    state = b"(" + number(1) + shape + dtype + b"\x89" + raw + b"tb"
    return b"\x80\x02}(" + short(b"labels") + b"](" + labels + b"e" + short(b"data") + array + state + b"u."


def test_what_is_made_here_is_what_numpy_reads() -> None:
    expected = pickle.loads(batch(), encoding="bytes")
    pixels, labels = cifar10.read_batch(PATH, batch(), COUNT)
    np.testing.assert_array_equal(pixels, expected[b"data"])
    assert labels.tolist() == expected[b"labels"]
    assert (pixels.dtype, labels.dtype) == (np.uint8, np.int64)


@given(st.integers(0, len(batch()) - 1))
def test_a_batch_cut_anywhere_is_refused_by_name(size: int) -> None:
    with pytest.raises(ExperimentError, match=f"{PATH} is not a whole batch .*Replace it"):
        cifar10.read_batch(PATH, batch()[:size], COUNT)


class Harmful:
    """What runs a command when it is unpickled."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (self.command,)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_that_asks_for_more_is_refused_before_anything_runs(tmp_path: Path, protocol: int) -> None:
    trace = tmp_path / "trace"
    content = pickle.dumps({"labels": [], "data": Harmful(f"touch {trace}")}, protocol=protocol)
    with pytest.raises(ExperimentError, match=r"it asks for \w+\.system"):
        cifar10.read_batch(PATH, content, COUNT)
    assert not trace.exists()


@pytest.mark.parametrize("name", ["numpy.core.multiarray _reconstruct", "numpy ndarray", "numpy dtype"])
def test_a_pickle_cannot_change_what_it_names_for_the_next_one(name: str) -> None:
    """BUILD sets the state of any object, of a function and a class as well."""
    evil = (
        b"\x80\x02c" + name.replace(" ", "\n").encode() + b"\nN}" + short(b"array") + number(1) + b"s\x86b."
    )
    with pytest.raises(ExperimentError, match="it sets the state"):
        cifar10.read_batch(PATH, evil, COUNT)
    cifar10.read_batch(PATH, batch(), COUNT)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (batch(name=b"scalar"), "it asks for numpy.core.multiarray.scalar"),
        (batch(kind=b"O8"), "not bytes by row"),
        (batch(count=2), r"pixels \(2, 3072\) and labels \(2,\): expected 3 images"),
        (pickle.dumps({b"labels": [10] * COUNT, b"data": 0}), "no attribute 'array'"),
        (pickle.dumps([]), "not a whole batch"),
    ],
)
def test_another_form_is_refused_by_name(content: bytes, message: str) -> None:
    with pytest.raises(ExperimentError, match=f"{PATH} .*{message}.*Replace it"):
        cifar10.read_batch(PATH, content, COUNT)


def archive(batches: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as file:
        for name, content in {"readme.html": b"<p>", **batches}.items():
            member = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            member.size = len(content)
            file.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def published(source: _download.Source, content: bytes) -> _download.Source:
    """The source, were this its content."""
    return dataclasses.replace(source, checksum=f"sha256:{hashlib.sha256(content).hexdigest()}")


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Every form's files by name, with few images, as if these were the published ones; none is anywhere."""
    # In another order than their numbers', as in the published archive.
    batches = {each.name: batch(seed) for seed, each in reversed([*enumerate(cifar10.BATCHES)])}
    files = {**batches, "test_batch_first1000": batch(9, 2), "cifar-10-python.tar.gz": archive(batches)}
    monkeypatch.setattr(cifar10, "BATCH", COUNT)
    monkeypatch.setattr(cifar10, "TEST", 2)
    for name in ("BATCHES", "EXCERPT"):
        sources = [published(each, files[each.name]) for each in getattr(cifar10, name)]
        monkeypatch.setattr(cifar10, name, sources)
    monkeypatch.setattr(cifar10, "ARCHIVE", published(cifar10.ARCHIVE, files["cifar-10-python.tar.gz"]))
    monkeypatch.setenv(_download.VARIABLE, str(tmp_path))
    monkeypatch.setenv("ADAMAS_CACHE", str(tmp_path / "cache"))
    (tmp_path / "cifar10").mkdir()
    return files


def put(tmp_path: Path, files: dict[str, bytes], *names: str) -> None:
    for name in names:
        (tmp_path / "cifar10" / name).write_bytes(files[name])


SIX = [source.name for source in cifar10.BATCHES]
FORMS = [(SIX, 5 * COUNT, 50_000), (["cifar-10-python.tar.gz"], 5 * COUNT, 50_000)]
FORMS += [(["data_batch_1", "test_batch_first1000"], COUNT, COUNT)]


@pytest.mark.parametrize(("names", "train", "announced"), FORMS)
def test_every_form_that_a_folder_may_have_is_read(
    tmp_path: Path, small: dict[str, bytes], names: list[str], train: int, announced: int
) -> None:
    put(tmp_path, small, *names)
    loaded = datasets.images("cifar10").load()
    assert (loaded.train.shape, loaded.test.shape) == ((train, 3072), (2, 3072))
    assert (len(loaded.train_labels), len(loaded.test_labels)) == (train, 2)
    first, labels = cifar10.read_batch(PATH, small["data_batch_1"], COUNT)
    np.testing.assert_array_equal(loaded.train[:COUNT], first.astype(np.float32) / np.float32(255))
    assert loaded.train_labels[:COUNT].tolist() == labels.tolist()
    assert cifar10.train_count(cifar10.identity()) == announced


def test_the_identity_says_which_form_there_is(tmp_path: Path, small: dict[str, bytes]) -> None:
    found = {cifar10.identity()}
    put(tmp_path, small, "data_batch_1", "test_batch_first1000")
    found.add(cifar10.identity())
    put(tmp_path, small, *SIX)
    found.add(cifar10.identity())
    assert len(found) == 3


def test_a_missing_or_damaged_batch_is_named(tmp_path: Path, small: dict[str, bytes]) -> None:
    put(tmp_path, small, "data_batch_1", "test_batch")
    with pytest.raises(ExperimentError, match="data_batch_2 is missing"):
        cifar10.read()
    put(tmp_path, small, *SIX)
    (tmp_path / "cifar10" / "data_batch_3").write_bytes(small["data_batch_3"][:-1])
    with pytest.raises(ExperimentError, match="data_batch_3 is corrupt or truncated"):
        cifar10.read()


def test_an_empty_folder_is_told_of_the_published_archive(small: dict[str, bytes]) -> None:
    with pytest.raises(ExperimentError, match=r"cifar-10-python\.tar\.gz is missing"):
        cifar10.read()


@given(st.data())
def test_an_archive_cut_anywhere_is_refused_by_name(
    tmp_path_factory: pytest.TempPathFactory, draw: st.DataObject
) -> None:
    path = tmp_path_factory.getbasetemp() / "cut.tar.gz"
    whole = archive({source.name: b"content" for source in cifar10.BATCHES})
    # What is cut of the end-of-archive blocks alone loses nothing; the gzip trailer after them is 8 bytes.
    path.write_bytes(whole[: draw.draw(st.integers(0, len(whole) - 30))])
    with pytest.raises(ExperimentError, match=f"{path} .*Replace it"):
        cifar10.read_archive(path)


def test_an_archive_that_lacks_a_batch_names_it(tmp_path: Path) -> None:
    path = tmp_path / "archive.tar.gz"
    path.write_bytes(archive({name: b"content" for name in SIX if name != "data_batch_4"}))
    with pytest.raises(ExperimentError, match=f"{path} lacks data_batch_4"):
        cifar10.read_archive(path)


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def site(tmp_path: Path, small: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of a local server that stands for the official one."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.delenv(_download.VARIABLE)
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        here = dataclasses.replace(cifar10.ARCHIVE, address=f"http://127.0.0.1:{server.server_port}/")
        monkeypatch.setattr(cifar10, "ARCHIVE", here)
        yield folder
        server.shutdown()
        thread.join()


def test_without_a_folder_the_published_archive_is_downloaded(site: Path, small: dict[str, bytes]) -> None:
    (site / "cifar-10-python.tar.gz").write_bytes(small["cifar-10-python.tar.gz"])
    assert len(cifar10.read()[0][0]) == 5 * COUNT


def test_a_damaged_download_is_refused(site: Path, small: dict[str, bytes]) -> None:
    (site / "cifar-10-python.tar.gz").write_bytes(small["cifar-10-python.tar.gz"][:-1])
    with pytest.raises(ExperimentError, match=r"http.*/cifar-10-python\.tar\.gz came corrupt or truncated"):
        cifar10.read()


@pytest.mark.realdata
def test_the_first_batch_and_test_images_are_the_published_ones() -> None:
    loaded = datasets.images("cifar10").load()
    assert loaded.train.shape == (cifar10.train_count(cifar10.identity()), 3072)
    counts = np.bincount(loaded.train_labels[:10_000]).tolist()
    assert counts == [1005, 974, 1032, 1016, 999, 937, 1030, 1001, 1025, 981]
    assert loaded.test_labels[:10].tolist() == [3, 8, 8, 0, 6, 6, 1, 6, 3, 1]
