"""Measurements on a GPU, within a time limit, to one JSON; the same code runs on a CPU, to be tested there."""

__all__: list[str] = []
