"""Backends: a rule and its storage formats to one compiled step."""

from ._base import Envelope, RuleSourceError
from ._bind import HOST, array_carry, array_scalars, bind, host_carry, host_scalars
from ._cautious import to_zero, update_of
from ._check import check_rule, only_shifts
from ._chunks import Runs, chunks_of, lengths_of
from ._columns import columns
from ._names import same_form, same_kernel, text_key, uses_names, watch
from ._sums import advance, factors_of, kept_shape, row_elements, state_shapes, unit_count
from ._trace_scalars import LiveTrace, trace_scalars

__all__ = [
    "HOST",
    "Envelope",
    "LiveTrace",
    "RuleSourceError",
    "Runs",
    "advance",
    "array_carry",
    "array_scalars",
    "bind",
    "check_rule",
    "chunks_of",
    "columns",
    "factors_of",
    "host_carry",
    "host_scalars",
    "kept_shape",
    "lengths_of",
    "only_shifts",
    "row_elements",
    "same_form",
    "same_kernel",
    "state_shapes",
    "text_key",
    "to_zero",
    "trace_scalars",
    "unit_count",
    "update_of",
    "uses_names",
    "watch",
]
