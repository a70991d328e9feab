"""float64: stored as computed; a kernel with any float64 array computes in float64."""

import numpy as np

from ._base import Format

_FLOAT64 = Format(
    "float64",
    np.dtype(np.float64),
    np.dtype(np.float64),
    torch_dtype="float64",
    aliases=("fp64", "double"),
)
FORMATS = dict.fromkeys((True, False), _FLOAT64)
