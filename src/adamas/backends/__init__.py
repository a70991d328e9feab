"""Backends: a rule and its storage formats to one compiled step."""

from ._base import Envelope, bind, host_carry, host_scalars

__all__ = ["Envelope", "bind", "host_carry", "host_scalars"]
