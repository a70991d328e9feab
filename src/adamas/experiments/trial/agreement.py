"""Every backend that can be had here, in every format, beside the float64 reference."""

from __future__ import annotations

import dataclasses
import functools
import importlib.util
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from adamas import formats
from adamas.backends import reference
from adamas.rules import Rule
from adamas.torch import Optimizer
from adamas.torch.launchers import all_launchers

__all__ = ["Agreement", "by_javascript", "by_optax", "by_torch", "plan", "why_slow"]

Array = NDArray[np.float64]
_SHAPE, _STEPS, _LR = (32, 256), 48, 1e-2
# The distance to the reference, over the length of the way, both root mean squares, that is still called
# agreement: what computation and storage of that many bits may lose. The package's rules lose half of it.
ALLOWED = {64: 1e-7, 32: 1e-3, 16: 0.03, 8: 0.1, 4: 0.5}


@dataclasses.dataclass(frozen=True)
class Agreement:
    """A backend in one format beside the reference.

    Attributes:
        backend, state: their names; the state's format is that of the parameter where none is asked for.
        error: the distance to the reference over the length of its way; None where it was refused.
        agrees: whether that is within what the format allows; None where it was refused.
        note: why it was refused, in the library's own words, or what else is to be known.
    """

    backend: str
    state: str
    error: float | None = None
    agrees: bool | None = None
    note: str = ""


def _gradients(steps: int) -> NDArray[np.float32]:
    """Gradients that turn, with noise; each column has a period and a size of its own, rows are alike."""
    random, n = np.random.default_rng(0), _SHAPE[1]
    phase, period = random.uniform(0, 2 * np.pi, n), random.uniform(2, 12, n)
    waves = np.sin(np.arange(steps)[:, None] / period + phase)
    noisy = waves + 0.3 * random.standard_normal((steps, n))
    found = noisy * 10.0 ** random.uniform(-3, 0, n)
    return np.repeat(found[:, None], _SHAPE[0], axis=1).astype(np.float32)


def _start() -> NDArray[np.float32]:
    return np.repeat(np.random.default_rng(1).standard_normal((1, _SHAPE[1])), _SHAPE[0], 0).astype(
        np.float32
    )


def _judge(
    rule: Rule, backend: str, state: str, bits: int, run: Callable[[Rule, Any], Any], steps: int
) -> Agreement:
    """Run, and compare with the reference; a refusal is a ValueError of the library."""
    rule, grads = dataclasses.replace(rule, lr=_LR), _gradients(steps)  # type: ignore[type-var]
    try:
        found = np.asarray(run(rule, grads), np.float64)
    except (ValueError, TypeError, NotImplementedError) as error:
        return Agreement(backend, state, note=_reason(error))
    except Exception as error:
        return Agreement(
            backend, state, agrees=False, note=f"it raises {type(error).__name__}: {_reason(error)}"
        )
    start = _start().astype(np.float64)
    with np.errstate(all="ignore"):
        states = [
            each.p
            for each in reference.trajectory(rule, start, lambda t, _: grads[t - 1].astype(float), steps)
        ]
    way = np.abs(np.diff(states, axis=0)).sum(0)
    # Rounding is random and right in the mean: that of the rows, which are alike but for it.
    lost = _rms((found - states[-1]).mean(0)) / max(_rms(way), float(np.finfo(float).tiny))
    return Agreement(backend, state, lost, lost <= ALLOWED[bits])


def _rms(x: Array) -> float:
    return float(np.sqrt(np.mean(x**2)))


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())
    # "... cannot update a parameter of shape (32, 256): why"
    _, found, reason = text.partition(f"{_SHAPE}: ")
    return reason if found else text


def plan(rule: Rule) -> list[tuple[str, Callable[[], Agreement]]]:
    """Return what there is to compare here, as labels and calls."""
    calls: list[tuple[str, Callable[[], Agreement]]] = []
    for backend, device in _torch_backends():
        calls += [(f"{backend}, {state}", call) for state, call in _in_formats(rule, backend, device)]
    if importlib.util.find_spec("optax") is not None:
        for state in ("float32", "bfloat16", "float16"):
            calls.append((f"optax, {state}", functools.partial(by_optax, rule, state)))
    if importlib.util.find_spec("adamas.backends.javascript") is not None:
        calls.append(("javascript", functools.partial(by_javascript, rule)))
    return calls


def _in_formats(rule: Rule, backend: str, device: str) -> Iterator[tuple[str, Callable[[], Agreement]]]:
    for state in sorted(formats.names(), key=lambda name: -formats.get(name).bits):
        yield state, functools.partial(by_torch, rule, backend, state, device)


def _torch_backends() -> list[tuple[str, str]]:
    """The launchers that run the rule's own text, and the devices where they can."""
    found = []
    for launcher in all_launchers():
        if launcher.keeps_state and not launcher.row_wise:
            if not launcher.on_device:
                found.append((launcher.name, "cpu"))
            elif torch.cuda.is_available():
                found.append((launcher.name, "cuda"))
    return found


def by_torch(rule: Rule, backend: str, state: str, device: str = "cpu", steps: int = _STEPS) -> Agreement:
    """Compare steps of `adamas.torch.Optimizer`; a parameter of float64 has its state in float64."""
    wide = state == "float64"

    def run(rule: Rule, grads: Any) -> Any:
        dtype = torch.float64 if wide else torch.float32
        p = torch.nn.Parameter(torch.from_numpy(_start()).to(device, dtype))
        options: dict[str, Any] = {} if state in ("float64", "float32") else {"state_format": state}
        optimizer = Optimizer([p], rule, backend=backend, **options)
        for g in grads:
            p.grad = torch.from_numpy(g).to(device, dtype)
            optimizer.step()
        return p.detach().double().cpu().numpy()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _judge(rule, backend, state, formats.get(state).bits, run, steps)


def by_optax(rule: Rule, state: str) -> Agreement:
    """Compare steps of `adamas.optax.from_rule`."""

    def run(rule: Rule, grads: Any) -> Any:
        from adamas.optax import from_rule

        made = from_rule(rule, state_format=None if state == "float32" else state)
        p = _start()
        memory = made.init(p)
        for g in grads:
            updates, memory = made.update(g, memory, p)
            p = np.asarray(p + np.asarray(updates), np.float32)
        return p

    return _judge(rule, "optax", state, formats.get(state).bits, run, 12)


def by_javascript(rule: Rule) -> Agreement:
    """See that the rule's text can be written as JavaScript, for the playground; it runs in a browser."""
    from adamas.backends import javascript  # type: ignore[attr-defined]

    try:
        javascript.emit(rule)
    except (ValueError, TypeError) as error:
        return Agreement("javascript", "float64", note=_reason(error))
    return Agreement("javascript", "float64", note="written for the playground; a browser runs it")


def why_slow(rule: Rule) -> str | None:
    """Return why no kernel takes an ordinary parameter, in the library's own words; None where one does."""
    p = torch.nn.Parameter(torch.from_numpy(_start()))
    p.grad = torch.zeros_like(p)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        optimizer = Optimizer([p], rule)
        optimizer.step()
    (shown,) = optimizer.report().params
    return None if shown.backend == all_launchers()[0].name else "; ".join(shown.notes) or str(shown.backend)
