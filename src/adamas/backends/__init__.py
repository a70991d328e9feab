"""Backends: a rule and its storage formats to one compiled step."""

from ._base import Envelope, bind

__all__ = ["Envelope", "bind"]
