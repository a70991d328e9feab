"""Measurements on a GPU, within a time limit, to one JSON; on a CPU the same code runs, for tests."""

__all__: list[str] = []
