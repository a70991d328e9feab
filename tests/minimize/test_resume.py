"""Interrupted anywhere, a run goes on to the same bits."""

from __future__ import annotations

import pickle
import signal
from typing import Any

import numpy as np
import pytest

pytest.importorskip("scipy", reason="adamas.minimize returns SciPy's results")

from minimize_support import quadratic
from rule_cases import CASES, every_case

import adamas
from adamas.rules import SGD, Adam

bowl = quadratic(1.0, 4.0, 9.0)
X0 = np.array([1.0, 2.0, -3.0])


def same(a: Any, b: Any) -> bool:
    """Whether all of two results is equal, to the bit."""
    keys = ["nit", "fun", "success", "status", "fun_average", "fun_stderr"]
    arrays = ["x", "jac"] + [key for key in ("x_average", "x_stderr") if key in a]
    return all(np.array_equal(a[key], b[key], equal_nan=True) for key in keys + arrays)


@every_case
@pytest.mark.parametrize("average", [None, 0.9, "polyak"])
def test_two_halves_are_the_whole(name: str, average: Any) -> None:
    given: dict[str, Any] = {"jac": True, "rule": CASES[name], "average": average, "tol": 0}
    whole = adamas.minimize(bowl, X0, maxiter=300, **given)
    half = adamas.minimize(bowl, X0, maxiter=137, **given)
    state = pickle.loads(pickle.dumps(half.state))
    rest = adamas.minimize(bowl, X0, maxiter=300, resume=state, **given)
    assert same(rest, whole)
    assert rest.nfev == whole.nfev
    assert same(adamas.minimize(bowl, X0, maxiter=300, resume=state, **given), whole), "the state was used"


SETTINGS: list[dict[str, Any]] = [
    {"jac": True},
    {"jac": "spsa", "average": 0.9},
    {"jac": "2-point", "bounds": [(-1, 1.5)] * 3, "average": 0.9},
    {"jac": True, "batches": np.arange(10.0), "batch_size": 3},
    {"jac": True, "batches": lambda random: random.standard_normal(2)},
    {"jac": True, "batches": [np.array([0.5]), np.array([1.0]), np.array([2.0])]},
]


class Interrupting:
    """A function that raises once, at a given call."""

    def __init__(self, jac: Any, at: int, error: BaseException | None) -> None:
        self.jac, self.at, self.error, self.calls = jac, at, error, 0

    def __call__(self, x: np.ndarray, batch: Any = None) -> Any:
        self.calls += 1
        if self.calls == self.at and self.error is not None:
            raise self.error
        value, g = bowl(x + (1 if batch is None else batch.mean()))
        return (value, g) if self.jac is True else value


@pytest.mark.parametrize("setting", range(len(SETTINGS)))
@pytest.mark.parametrize("dtype", [np.float16, np.float64])
@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
def test_an_interrupted_run_goes_on_to_the_same_bits(setting: int, dtype: Any, error: Any) -> None:
    given = SETTINGS[setting]
    arguments: dict[str, Any] = {"seed": 3, "maxiter": 90, "tol": 0, "rule": Adam(lr=0.01), **given}
    x0 = X0.astype(dtype)
    whole = adamas.minimize(Interrupting(given["jac"], 0, None), x0, **arguments)
    fun = Interrupting(given["jac"], 77, error("so"))
    if error is KeyboardInterrupt:
        cut = adamas.minimize(fun, x0, **arguments)
        assert (cut.success, cut.status) == (False, 3)
        assert cut.message.startswith(f"interrupted after {cut.nit} iterations")
        state = cut.state
    else:
        with pytest.raises(ZeroDivisionError, match="so") as raised:
            adamas.minimize(fun, x0, **arguments)
        state = raised.value.adamas_state  # type: ignore[attr-defined]
        assert "adamas_state" in raised.value.__notes__[0]
    arguments |= {"resume": pickle.loads(pickle.dumps(state)), "seed": None}
    rest = adamas.minimize(Interrupting(given["jac"], 0, None), x0, **arguments)
    assert same(rest, whole)
    assert rest.seed == 3


def test_an_iterator_loses_no_batch() -> None:
    def fun(x: np.ndarray, batch: float) -> tuple[float, np.ndarray]:
        used.append(batch)
        if len(used) == 4:
            raise KeyboardInterrupt
        return bowl(x * batch)

    used: list[float] = []
    batches = iter(np.linspace(1, 2, 10))
    state = adamas.minimize(fun, X0, jac=True, batches=batches).state
    done = adamas.minimize(fun, X0, jac=True, batches=batches, resume=state)
    assert done.nit == 10
    assert used[3] == used[4]
    assert len(used) == 11


@pytest.mark.parametrize("place", ["callback", "schedule", "batches"])
def test_an_error_anywhere_carries_the_state(place: str) -> None:
    def broken(*_: Any) -> Any:
        raise LookupError("mine")

    given = {place: broken}
    with pytest.raises(LookupError, match="mine") as raised:
        adamas.minimize(lambda x, batch=None: bowl(x), X0, jac=True, maxiter=20, **given)  # type: ignore[arg-type]
    state = raised.value.adamas_state  # type: ignore[attr-defined]
    done = adamas.minimize(bowl, X0, jac=True, maxiter=20, resume=state)
    assert same(done, adamas.minimize(bowl, X0, jac=True, maxiter=20))


def test_a_signal_in_a_step_waits_for_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """The signal comes when the kernel has run and nothing has counted it yet."""
    from adamas._minimize.blocks import Blocks

    original, calls = Blocks.add, 0

    def add(self: Blocks, *args: Any) -> bool:
        nonlocal calls
        calls += 1
        if calls == 5:
            signal.raise_signal(signal.SIGINT)
        return original(self, *args)

    before = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(Blocks, "add", add)
    cut = adamas.minimize(bowl, X0, jac=True, maxiter=20)
    assert (cut.nit, cut.status) == (5, 3)
    assert signal.getsignal(signal.SIGINT) is before
    done = adamas.minimize(bowl, X0, jac=True, maxiter=20, resume=cut.state)
    assert same(done, adamas.minimize(bowl, X0, jac=True, maxiter=20))


def test_an_interrupt_in_a_nested_run_ends_the_outer_one() -> None:
    def inner(x: np.ndarray) -> tuple[float, np.ndarray]:
        raise KeyboardInterrupt

    done = adamas.minimize(lambda x: (adamas.minimize(inner, x, jac=True).fun, x), X0, jac=True)
    assert (done.status, done.nit) == (3, 0)


def test_a_resumed_run_may_have_another_step_size_and_no_other_rule() -> None:
    state = adamas.minimize(bowl, X0, jac=True, rule=Adam(lr=0.1), maxiter=5).state
    assert adamas.minimize(bowl, X0, jac=True, rule=Adam(lr=0.01), maxiter=9, resume=state).rule.lr == 0.01
    with pytest.raises(ValueError, match=r"resume is the state of a run by Adam\("):
        adamas.minimize(bowl, X0, jac=True, rule=SGD(), resume=state)
    with pytest.raises(ValueError, match="over another x0"):
        adamas.minimize(bowl, X0[:2], jac=True, resume=state)
    with pytest.raises(ValueError, match=r"with average=None, not 0\.9"):
        adamas.minimize(bowl, X0, jac=True, resume=state, average=0.9)
    with pytest.raises(ValueError, match="without bounds, not with them"):
        adamas.minimize(bowl, X0, jac=True, resume=state, bounds=[(0, 1)] * 3)
    with pytest.raises(TypeError, match="the state of a result"):
        adamas.minimize(bowl, X0, jac=True, resume={"x": 1})
