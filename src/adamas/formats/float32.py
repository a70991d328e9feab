"""float32: stored as computed."""

import numpy as np

from ._base import Format

_FLOAT32 = Format(
    "float32",
    np.dtype(np.float32),
    np.dtype(np.float32),
    torch_dtype="float32",
    aliases=("fp32", "float"),
)
FORMATS = dict.fromkeys((True, False), _FLOAT32)
