"""Helpers that know nothing of optimizers: modules, files, text, names, and ranges of numbers."""

__all__: list[str] = []
