"""A row that has a gradient at every twentieth step: exact steps, dense ones and lazy ones."""

from __future__ import annotations

from pathlib import Path

import charts
import numpy as np
import torch

import adamas.torch

STEPS, EVERY, ROWS = 200, 20, 4


def rows_of(sparse: bool, semantics: str) -> np.ndarray:
    """A weight of row 1 before each of its gradients and at the end; row 0 has one at every step."""
    torch.manual_seed(0)
    table = torch.nn.Embedding(ROWS, 4, sparse=sparse)
    with torch.no_grad():
        table.weight.fill_(1.0)
    options = {"semantics": semantics} if sparse else {}
    optimizer = adamas.torch.Adam(table.parameters(), lr=0.01, **options)
    exact = sparse and semantics == "exact"
    if exact:
        optimizer.track(table)
    seen = []
    for t in range(STEPS):
        words = torch.tensor([0, 1] if t % EVERY == 0 else [0])
        optimizer.zero_grad()
        table(words).sum().backward()
        optimizer.step()
        # A row that waits is brought up to date before its next gradient would be, and looked at.
        if exact and t % EVERY == EVERY - 1:
            optimizer.catch_up()
        seen.append(table.weight[1, 0].item())
    return np.array(seen)[EVERY - 1 :: EVERY]


def draw(path: Path) -> dict[str, str]:
    """Draw the three; how far exact and lazy steps are from dense ones."""
    dense, exact, lazy = rows_of(False, ""), rows_of(True, "exact"), rows_of(True, "lazy")
    with charts.figure(path) as (axes,):
        steps = np.arange(EVERY, STEPS + 1, EVERY)
        axes.plot(steps, dense, color=charts.GREY, linewidth=4, alpha=0.4, label="dense gradient")
        axes.plot(steps, exact, marker="o", label='sparse, semantics="exact"')
        axes.plot(steps, lazy, marker="o", label='sparse, semantics="lazy" (SparseAdam)')
        axes.set(xlabel="step", ylabel="a weight of the row")
        axes.set_title(f"A row with a gradient at every {EVERY}th step")
        axes.legend()
    return {
        "every": str(EVERY),
        "steps": str(STEPS),
        "exact": f"{np.abs(exact - dense).max():.1e}",
        "lazy": f"{np.abs(lazy - dense).max():.2f}",
        "moved": f"{np.abs(dense[-1] - 1):.2f}",
    }
