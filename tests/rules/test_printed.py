"""The reference against algorithms as their papers print them."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from printed_cases import PRINTED
from rule_cases import run_reference

from adamas.rules import Rule

STEPS = 60


@pytest.mark.parametrize(
    ("printed", "rule"), PRINTED, ids=lambda value: getattr(value, "__name__", repr(value)[:60])
)
def test_printed(printed: Callable[[Any, Any, Any], Any], rule: Rule) -> None:
    random = np.random.default_rng(0)
    p = random.standard_normal((6, 5))
    grads = random.standard_normal((STEPS, 6, 5)) * 10 ** random.uniform(-2, 1, (6, 5))
    actual = run_reference(rule, p, list(grads))[-1][0]
    np.testing.assert_allclose(actual, printed(p, grads, rule), rtol=1e-11, atol=1e-12)
