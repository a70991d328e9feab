"""Execution of runs: engines, the grid that stores what they return, and the progress that is shown."""

__all__: list[str] = []
