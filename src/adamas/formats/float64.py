"""float64: as it is; what meets it is computed in float64."""

import numpy as np

from ._base import Format

FORMATS = dict.fromkeys((True, False), Format("float64", np.dtype(np.float64), np.dtype(np.float64), torch_dtype="float64"))
