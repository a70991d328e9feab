"""The state of an optimizer from one library to another, over NumPy: a library a file, of its name."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

from .._tools import modules

__all__ = ["convert"]


def convert(
    state: Any, like: Any = None, *, names: Mapping[str, str] | Callable[[str], str] | None = None
) -> Any:
    """The state of an optimizer for another library: training goes on there where it stopped.

    ```python
    import adamas.optax, torch

    p = torch.nn.Parameter(torch.ones(3))
    torch_optimizer = torch.optim.Adam({"w": p}.items())
    p.grad = torch.ones(3)
    torch_optimizer.step()
    transformation, params = adamas.optax.adam(), {"w": p.detach().numpy()}
    opt_state = adamas.convert(torch_optimizer, like=transformation.init(params))
    torch_optimizer.load_state_dict(adamas.convert(opt_state, like=torch_optimizer))
    by_name = adamas.convert(opt_state)  # NumPy
    ```

    Of each parameter: the steps taken, the slots by the rule's own names (m and v of Adam, whatever they are
    called there, in however few bits they are stored), its carried values, and its average, which goes along
    where both sides keep one. Parameters themselves, learning rates and the counts of schedules stay where
    they are. Nothing that is given is changed.

    Args:
        state: an optimizer of `adamas.torch` or `torch.optim`, or its `state_dict()`; a state of optax in
            which there is one of `adamas.optax`, or of `optax.scale_by_adam`; or what this function returned.
        like: where it is to go: a torch optimizer, or a state of optax, in which only this state is replaced;
            None for NumPy.
        names: the name in `like` of each parameter of `state`, as a mapping or function, where they differ.
            Names are those given to the torch optimizer (`model.named_parameters()`), or its numbers "0",
            "1", ...; and the path in the tree, "layers.0.kernel".

    Returns:
        What the optimizer's `load_state_dict` takes; a state of optax; or NumPy's arrays: a dictionary from
        each name to `(t, slots, carried, average)`, whose arrays may be transposed before they are converted
        again.

    Raises:
        TypeError: one of the two is none of these.
        ValueError: names, shapes or slots of the two differ; the first difference is named.
    """
    states = _library_of(state, "state").read(state)
    if names is not None:
        rename = names if callable(names) else names.__getitem__
        try:
            states = {rename(name): x for name, x in states.items()}
        except KeyError as error:
            raise ValueError(f"names has no entry for the parameter {error.args[0]!r}") from None
    return states if like is None else _library_of(like, "like").write(states, like)


def _library_of(value: Any, what: str) -> ModuleType:
    """The file that knows a value; its library has been imported, or there would be no such value."""
    for name in modules.names(__name__):
        if name in sys.modules and (found := modules.load(__name__, name)).owns(value):
            return found
    raise TypeError(
        f"{what} must be a torch optimizer or its state_dict(), an optax state in which adamas.optax or "
        f"optax.scale_by_adam has one, or a result of adamas.convert; got {type(value).__name__}"
    )
