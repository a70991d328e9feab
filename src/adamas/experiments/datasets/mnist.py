"""MNIST: 70,000 handwritten digits of 28 by 28 pixels (LeCun, Cortes & Burges)."""

from __future__ import annotations

import functools
import gzip
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .. import ExperimentError
from . import Images, ImageSet, _download

# The usual mirror: LeCun's own site refuses downloads.
ADDRESS = "https://ossci-datasets.s3.amazonaws.com/mnist/"
FILES = {
    (part, kind): _download.Source("mnist", f"{part}-{kind}-ubyte.gz", f"sha256:{checksum}", ADDRESS)
    for part, kind, checksum in [
        ("train", "images-idx3", "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"),
        ("train", "labels-idx1", "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"),
        ("t10k", "images-idx3", "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"),
        ("t10k", "labels-idx1", "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"),
    ]
}


def read_idx(path: Path, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Read a gzip-compressed IDX file of bytes of exactly this shape (the format of LeCun's MNIST page).

    Raises:
        ExperimentError: not gzip, cut short, or of another shape.
    """
    # Two zero bytes, 8 for unsigned bytes, the number of dimensions, then each as a big-endian int32.
    header = bytes([0, 0, 8, len(shape)]) + np.array(shape, ">i4").tobytes()
    try:
        content = gzip.decompress(path.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise ExperimentError(f"{path} is not a whole gzip file: {error}. Replace it") from error
    size = len(header) + int(np.prod(shape))
    if content[: len(header)] != header or len(content) != size:
        raise ExperimentError(
            f"{path} is not an IDX file of bytes of shape {shape}: expected {size:,} bytes, the first "
            f"{header.hex()}, found {len(content):,}, the first {content[: len(header)].hex()}. Replace it"
        )
    return np.frombuffer(content, np.uint8, offset=len(header)).reshape(shape)


@functools.cache
def load() -> Images:
    """Load and check the images."""

    def part(name: str, count: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        images = read_idx(_download.get(FILES[name, "images-idx3"]), (count, 28, 28))
        labels = read_idx(_download.get(FILES[name, "labels-idx1"]), (count,))
        return images.reshape(count, -1).astype(np.float32) / np.float32(255), labels.astype(np.int64)

    return Images(*part("train", 60_000), *part("t10k", 10_000))


def identity() -> str:
    """Name the files by their checksums."""
    return f"mnist {_download.fingerprint(list(FILES.values()))}"


IMAGES = ImageSet(identity, load, (1, 28, 28))
