"""float32: as it is."""

import numpy as np

from ._base import Format

FORMATS = dict.fromkeys((True, False), Format("float32", np.dtype(np.float32), np.dtype(np.float32), torch_dtype="float32"))
