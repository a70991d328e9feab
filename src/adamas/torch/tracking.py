"""The part of an optimizer that tracks parameters with sparse gradients; see `lagging`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ._compat import is_distributed, is_fake, is_flat
from .keywords import StepOptions
from .lagging import DTYPES, LaggingRows
from .tracked import TrackedParameter, tracked

__all__ = ["Tracking"]

_EMBEDDINGS = (nn.Embedding, nn.EmbeddingBag)


class Tracking(torch.optim.Optimizer):
    """The part of an optimizer that takes exact steps with sparse gradients."""

    options: StepOptions
    _lagging: dict[Tensor, LaggingRows]
    _plan: Any
    _in_backward: Any

    def track(self, *modules: nn.Module) -> None:
        """Take exact steps with the sparse gradients of embeddings, at the cost of the rows they have.

        From now on a row without a gradient lags behind, and is brought up to date before it is read: by a
        lookup of `torch.nn.functional.embedding` or `embedding_bag`, the rows that it reads; by anything
        else that reads the weight (`state_dict`, `deepcopy`, `weight[3]`, a tied layer), all rows. The
        weight's class becomes a subclass of `torch.nn.Parameter` that sees to it. A weight that another
        optimizer tracks is tracked by this one from now on. Not seen are NumPy arrays
        and other memory that was taken from it before, its state as `state[p]` has it, `torch.jit.script`,
        and transforms of `torch.func` that take the weight as an argument (they wrap it where no class is
        asked): call `catch_up` before those.

        Args:
            *modules: `nn.Embedding` and `nn.EmbeddingBag` with `sparse=True`, or modules that have such.
                Their weights are float32 or float64, on the CPU, and parameters of this optimizer.

        Raises:
            TypeError: one is no module.
            ValueError: one has no such embedding, or its weight cannot be tracked; the message says why.
        """
        found: dict[Tensor, str] = {}
        for module in modules:
            if not isinstance(module, nn.Module):
                raise TypeError(f"track takes modules such as nn.Embedding, got {type(module).__name__}")
            mine = [m for m in module.modules() if isinstance(m, _EMBEDDINGS) and m.sparse]
            if not mine:
                raise ValueError(
                    f"{type(module).__name__} has no nn.Embedding or nn.EmbeddingBag with sparse=True: "
                    f"others have dense gradients, which need no tracking"
                )
            found |= {m.weight: type(m).__name__ for m in mine}
        found = {p: name for p, name in found.items() if not self._tracks(p)}
        for p, name in found.items():
            self._check_tracked(p, name)
        for p in found:
            self._lagging[p] = rows = tracked(p)
            rows.owner = self._lagging
        if found:
            self._plan = None

    def _tracks(self, p: Tensor) -> bool:
        rows = self._lagging.get(p)
        return rows is not None and rows.owner is self._lagging

    def _check_tracked(self, p: Tensor, name: str) -> None:
        shape = f"the weight of {name}, of shape {tuple(p.shape)},"
        if not any(p is each for group in self.param_groups for each in group["params"]):
            raise ValueError(f"{shape} is not a parameter of this optimizer")
        options = self.options
        for wrong, why in (
            (
                not isinstance(p, TrackedParameter) and type(p) is not nn.Parameter,
                f"it is a {type(p).__name__}",
            ),
            (is_distributed(p) or is_flat(p), "it is spread over processes"),
            (is_fake(p) or p.is_meta, "it has no values"),
            (p.device.type != "cpu", f"it is on {p.device}; rows are kept up to date on the CPU"),
            (p.dtype not in DTYPES, f"it is {p.dtype}; float32 and float64 can be"),
            (not p.is_contiguous(), "its rows do not lie one after the other; make it contiguous"),
            (
                p.is_shared(),
                "its memory is shared with other processes, which would not bring rows up to date",
            ),
            (
                options.state_format not in (None, "float32"),
                f"state_format={options.state_format!r} would round once for many steps; leave it out",
            ),
            (options.average is not None, "average= would follow every row at every step; leave it out"),
            (
                options.cautious_decay,
                "cautious_decay=True asks of every step of a row where it leads; leave it out",
            ),
            (options.offload, "offload=True steps all of a parameter; leave it out"),
            (options.semantics == "lazy", "semantics='lazy' leaves rows without a gradient as they are"),
            (self._in_backward is not None, "step_in_backward() is on"),
        ):
            if wrong:
                raise ValueError(f"{shape} cannot be tracked: {why}")

    def catch_up(self) -> None:
        """Bring all rows of tracked parameters up to date, and their state."""
        for rows in self._lagging.values():
            rows.catch_up()

    def state_dict(self) -> dict[str, Any]:
        """As in torch, with all rows up to date: that of the same optimizer with dense gradients."""
        self.catch_up()
        return super().state_dict()
