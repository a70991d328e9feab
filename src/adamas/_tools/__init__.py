"""Helpers that know nothing of optimizers: discovery of modules, files, text, and ranges of numbers."""

__all__: list[str] = []
