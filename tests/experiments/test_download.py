import dataclasses
import hashlib
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

import pytest

from adamas.experiments import ExperimentError
from adamas.experiments.datasets import _download

CONTENT = b"published content" * 100
SOURCE = _download.Source("mnist", "file.gz", "sha256:" + hashlib.sha256(CONTENT).hexdigest())


class Site(NamedTuple):
    """The folder of a server, and a file that is published there."""

    folder: Path
    source: _download.Source


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A local server, no ADAMAS_DATA, an empty cache."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.delenv(_download.VARIABLE, raising=False)
    monkeypatch.setenv("ADAMAS_CACHE", str(tmp_path / "cache"))
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield Site(folder, dataclasses.replace(SOURCE, address=f"http://127.0.0.1:{server.server_port}/"))
        server.shutdown()
        thread.join()


def cached(site: Site) -> list[Path]:
    return [path for path in (site.folder.parent / "cache").rglob("*") if path.is_file()]


@pytest.mark.parametrize("algorithm", ["sha256", "md5"])
def test_a_download_is_verified_and_kept(site: Site, algorithm: str) -> None:
    digest = hashlib.new(algorithm, CONTENT).hexdigest()
    source = dataclasses.replace(site.source, checksum=f"{algorithm}:{digest}")
    (site.folder / "file.gz").write_bytes(CONTENT)
    path = _download.get(source)
    assert path.read_bytes() == CONTENT
    (site.folder / "file.gz").unlink()
    assert _download.get(source) == path


@pytest.mark.parametrize("content", [b"", CONTENT[:-1], CONTENT[:-1] + b"?"])
def test_a_wrong_download_names_its_address_and_leaves_nothing(site: Site, content: bytes) -> None:
    (site.folder / "file.gz").write_bytes(content)
    with pytest.raises(ExperimentError, match=r"http.*/file\.gz came corrupt or truncated.*ADAMAS_DATA"):
        _download.get(site.source)
    assert cached(site) == []


def test_a_damaged_cache_is_downloaded_again(site: Site) -> None:
    (site.folder / "file.gz").write_bytes(CONTENT)
    _download.get(site.source).write_bytes(b"damaged")
    assert _download.get(site.source).read_bytes() == CONTENT


def test_an_absent_file_names_its_address(site: Site) -> None:
    with pytest.raises(ExperimentError, match=r"http.*/file\.gz cannot be downloaded.*404.*ADAMAS_DATA"):
        _download.get(site.source)


def test_without_a_server_the_address_is_named(site: Site) -> None:
    source = dataclasses.replace(site.source, address="http://127.0.0.1:1/")
    with pytest.raises(ExperimentError, match=r"http.*/file\.gz cannot be downloaded"):
        _download.get(source)


def given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None) -> Path:
    path = tmp_path / "mnist" / "file.gz"
    path.parent.mkdir()
    if content is not None:
        path.write_bytes(content)
    monkeypatch.setenv(_download.VARIABLE, str(tmp_path))
    return path


def test_a_given_file_is_used_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = given(tmp_path, monkeypatch, CONTENT)
    assert _download.get(SOURCE) == path


@pytest.mark.parametrize("content", [b"", CONTENT[:-1], CONTENT + b"?"])
def test_a_wrong_given_file_is_named_with_what_was_expected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    path = given(tmp_path, monkeypatch, content)
    with pytest.raises(ExperimentError) as error:
        _download.get(SOURCE)
    for part in (str(path), SOURCE.checksum[7:], hashlib.sha256(content).hexdigest(), "Replace it"):
        assert part in str(error.value)
    assert path.read_bytes() == content


def test_a_missing_given_file_is_not_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = given(tmp_path, monkeypatch, None)
    with pytest.raises(ExperimentError, match=f"{path} is missing"):
        _download.get(SOURCE)


def test_the_fingerprint_changes_with_any_checksum() -> None:
    other = _download.Source("mnist", "other.gz", "md5:00")
    assert len({_download.fingerprint(sources) for sources in ([SOURCE], [other], [SOURCE, other])}) == 3
