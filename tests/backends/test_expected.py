"""Generated kernels as they are to be, in full: what a reader and a reviewer see of the generator.

After an intended change of the generator, write them anew and look at the difference:

    ADAMAS_WRITE_EXPECTED=1 python -m pytest tests/backends/test_expected.py
"""

import os
import re
from pathlib import Path
from typing import Any

import pytest

from adamas.backends.numba import compile_rule
from adamas.rules import Adam

FOLDER = Path(__file__).parent / "expected"
KERNELS: dict[str, dict[str, Any]] = {
    "adam_float32": {"p": "float32"},
    "adam_bfloat16": {"p": "bfloat16", "slots": {"m": "bfloat16", "v": "bfloat16"}},
    "adam_copied": {"p": "float32", "g": "bfloat16", "copy": "bfloat16"},
    "adam_float8": {"p": "float32", "slots": {"m": "float8", "v": "float8"}},
}


def generated(name: str) -> str:
    """The text of a kernel, without the hash of the toolbox it was made with."""
    text = compile_rule(Adam(), **KERNELS[name]).path.read_text(encoding="utf-8")
    return re.sub(r"^# toolbox [0-9a-f]{16}\n", "", text, flags=re.MULTILINE)


@pytest.mark.parametrize("name", KERNELS)
def test_a_kernel_is_as_expected(name: str) -> None:
    path = FOLDER / f"{name}.py"
    if os.environ.get("ADAMAS_WRITE_EXPECTED"):
        path.write_text(generated(name), encoding="utf-8")
    assert generated(name) == path.read_text(encoding="utf-8"), f"see the top of {Path(__file__).name}"


def test_every_expected_kernel_is_compared() -> None:
    assert {path.stem for path in FOLDER.glob("*.py")} == set(KERNELS)
