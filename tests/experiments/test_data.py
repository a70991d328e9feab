import hashlib
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from adamas.experiments import ExperimentError, data

CONTENT = b"published content" * 100
SOURCE = data.Source("mnist", "file.gz", "sha256:" + hashlib.sha256(CONTENT).hexdigest())


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of a local server that stands for the official one; no ADAMAS_DATA, an empty cache."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.delenv(data.VARIABLE, raising=False)
    monkeypatch.setenv("ADAMAS_CACHE", str(tmp_path / "cache"))
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        monkeypatch.setitem(data.ADDRESSES, "mnist", f"http://127.0.0.1:{server.server_port}/")
        yield folder
        server.shutdown()
        thread.join()


def cached(site: Path) -> list[Path]:
    return [path for path in (site.parent / "cache").rglob("*") if path.is_file()]


@pytest.mark.parametrize("algorithm", ["sha256", "md5"])
def test_a_download_is_verified_and_kept(site: Path, algorithm: str) -> None:
    source = data.Source("mnist", "file.gz", f"{algorithm}:{hashlib.new(algorithm, CONTENT).hexdigest()}")
    (site / "file.gz").write_bytes(CONTENT)
    path = data.get(source)
    assert path.read_bytes() == CONTENT
    (site / "file.gz").unlink()
    assert data.get(source) == path


@pytest.mark.parametrize("content", [b"", CONTENT[:-1], CONTENT[:-1] + b"?"])
def test_a_wrong_download_names_its_address_and_leaves_nothing(site: Path, content: bytes) -> None:
    (site / "file.gz").write_bytes(content)
    with pytest.raises(ExperimentError, match=r"http.*/file\.gz came corrupt or truncated.*ADAMAS_DATA"):
        data.get(SOURCE)
    assert cached(site) == []


def test_a_damaged_cache_is_downloaded_again(site: Path) -> None:
    (site / "file.gz").write_bytes(CONTENT)
    data.get(SOURCE).write_bytes(b"damaged")
    assert data.get(SOURCE).read_bytes() == CONTENT


def test_an_absent_file_names_its_address(site: Path) -> None:
    with pytest.raises(ExperimentError, match=r"http.*/file\.gz cannot be downloaded.*404.*ADAMAS_DATA"):
        data.get(SOURCE)


def test_without_a_server_the_address_is_named(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(data.ADDRESSES, "mnist", "http://127.0.0.1:1/")
    with pytest.raises(ExperimentError, match=r"http.*/file\.gz cannot be downloaded"):
        data.get(SOURCE)


def given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None) -> Path:
    path = tmp_path / "mnist" / "file.gz"
    path.parent.mkdir()
    if content is not None:
        path.write_bytes(content)
    monkeypatch.setenv(data.VARIABLE, str(tmp_path))
    return path


def test_a_given_file_is_used_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = given(tmp_path, monkeypatch, CONTENT)
    assert data.get(SOURCE) == path


@pytest.mark.parametrize("content", [b"", CONTENT[:-1], CONTENT + b"?"])
def test_a_wrong_given_file_is_named_with_what_was_expected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    path = given(tmp_path, monkeypatch, content)
    with pytest.raises(ExperimentError) as error:
        data.get(SOURCE)
    for part in (str(path), SOURCE.checksum[7:], hashlib.sha256(content).hexdigest(), "Replace it"):
        assert part in str(error.value)
    assert path.read_bytes() == content


def test_a_missing_given_file_is_not_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = given(tmp_path, monkeypatch, None)
    with pytest.raises(ExperimentError, match=f"{path} is missing"):
        data.get(SOURCE)


def test_the_fingerprint_changes_with_any_checksum() -> None:
    other = data.Source("mnist", "other.gz", "md5:00")
    assert len({data.fingerprint(sources) for sources in ([SOURCE], [other], [SOURCE, other])}) == 3
