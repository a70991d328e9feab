"""Optimizers that are not update rules, for comparison."""

__all__: list[str] = []
