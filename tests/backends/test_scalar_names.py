"""A kernel calls its scalars what the rule calls them, whatever else has that name there."""

from dataclasses import make_dataclass
from typing import Any

import numpy as np
import pytest
from format_support import Driver
from rule_cases import gradients, parameters

from adamas.backends import Envelope
from adamas.rules import SIGNED, Rule


def rule_with(a: str, b: str) -> Rule:
    """Momentum whose two scalars have these names."""
    scope: dict[str, Any] = {}
    exec(f"def update(p, g, m, {a}, {b}):\n m = {a} * m + g\n return p - {b} * m, m", scope)
    namespace = {
        "slots": {"m": SIGNED},
        "scalars": lambda self, t: (0.75, self.lr),
        "update": staticmethod(scope["update"]),
    }
    fields = [("lr", float, 0.25)]
    made = make_dataclass("Named", fields, bases=(Rule,), frozen=True, namespace=namespace)
    return made()  # type: ignore[no-any-return]


NAMES = [("step", "k"), ("counter", "key"), ("decay_factor", "scale"), ("g_scale", "max")]


def stepped(a: str, b: str, state: str) -> list[np.ndarray]:
    driver = Driver(rule_with(a, b), [parameters(300)], slots=state)
    for g in gradients(2, 300):
        driver.step(g, envelope=Envelope(scale=-0.5, coupled_decay=0.01, decay_factor=0.99))
    return [array.values for array in driver.arrays]


@pytest.mark.parametrize(("a", "b"), NAMES)
@pytest.mark.parametrize("state", ["float32", "float8"])
def test_any_name_will_do(a: str, b: str, state: str) -> None:
    for one, other in zip(stepped(a, b, state), stepped("beta", "lr", state), strict=True):
        np.testing.assert_array_equal(one, other)
