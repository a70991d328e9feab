"""What a launcher is: what it is asked, what it is given, and the calls of a step."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import torch
from numpy.typing import NDArray
from torch import Tensor

from ...backends import LiveTrace
from ...rules import Rule
from ..keywords import StepOptions
from ..mesh import Spread, check_grad_placements, local, own_part
from ..options import Groups

__all__ = [
    "IDLE",
    "DeviceLauncher",
    "Launcher",
    "MeasuringLauncher",
    "Member",
    "ParamState",
    "Prepared",
    "Request",
    "StepScalars",
]

# The row of a parameter that a step leaves alone.
IDLE = -1


# A step of the parameters that share a row, a plain tuple because one is made at every step:
# - the rule;
# - the envelope: scale of the gradient, coupled decay, decay factor, weight of the average; and the decay,
#   where that is cautious;
# - the rule's scalars;
# - t, which counts all steps, where they are counted, and keys the random bits;
# - the rule's carried values of this step.
StepScalars = tuple[Rule, tuple[float, ...], tuple[float, ...], int, tuple[float, ...]]


@dataclass(frozen=True, eq=False)
class Request:
    """What is asked of a launcher for the parameters of one group."""

    groups: Groups
    group: Mapping[str, Any]
    rule: Rule
    slot_keys: Sequence[str]

    @property
    def differentiable(self) -> bool:
        """Whether autograd is to see the step."""
        return bool(self.group.get("differentiable", False))


@dataclass(frozen=True, eq=False, slots=True)
class Member:
    """A parameter as a launcher is asked about it.

    Attributes:
        p: as the optimizer has it.
        local: what of it this process updates: the shard of a DTensor, else `p` itself.
        grad: the gradient of `local`, if there is one.
        spread: where the elements of a DTensor are.
        copy: a tensor that is given the parameter's new values too, rounded to nearest; None for no such.
        row_wise: whether a step is of the rows that have a gradient, and no others.
    """

    p: Tensor
    local: Tensor
    grad: Tensor | None
    spread: Spread | None
    copy: Tensor | None = None
    row_wise: bool = False


@dataclass(eq=False, slots=True)
class ParamState:
    """A parameter and its state.

    Attributes:
        p, local, spread: as of `Member`.
        state: the tensors of its state in this process, by their keys.
        slots: the keys in the state of the rule's slots, in the rule's order, and last that of the
            average if one is kept.
        index: what tells its random bits from those of others: its number in the optimizer.
        layout: a dense tensor like `local`, as the state is: `local` itself, or, where that has gaps in
            memory or is lazily conjugated, another; or one of the whole parameter.
        whole_grad: where the whole gradient is gathered, of a parameter whose state every process keeps
            whole, and steps whole.
        counts: whether its gradient counts in the norm: of replicas one does.
        copy: as of `Member`.
    """

    p: Tensor
    local: Tensor
    state: dict[str, Any]
    slots: Sequence[str]
    index: int
    layout: Tensor
    spread: Spread | None = None
    whole_grad: Tensor | None = None
    counts: bool = True
    copy: Tensor | None = None

    def local_grad(self, g: Tensor) -> Tensor:
        """The part of a gradient that this process needs: its shard, or where the whole will be gathered.

        Raises:
            RuntimeError: it does not lie as the parameter does.
        """
        check_grad_placements(self.p, g)
        return local(g) if self.whole_grad is None else self.whole_grad

    def gather_grad(self) -> None:
        """Gather the gradient from all processes, where the whole of it is needed."""
        g: Any = self.p.grad
        if self.whole_grad is not None and g is not None:
            self.whole_grad.copy_(g.full_tensor())

    def to_layout(self) -> None:
        """Copy the parameter to its layout, from all processes where that is whole."""
        with torch.no_grad():
            whole: Any = self.p
            self.layout.copy_(self.local if self.whole_grad is None else whole.full_tensor())

    def from_layout(self) -> None:
        """Copy the layout to the parameter, or to the shard of it in this process."""
        with torch.no_grad():
            whole = self.whole_grad is not None and self.spread is not None
            self.local.copy_(own_part(self.layout, self.spread) if whole else self.layout)  # type: ignore[arg-type]


class Launcher(Protocol):
    """The parameters that one piece of code updates together.

    A step is `select` (where the active parameters or their rows have changed), `bind`, `grad_squares` if
    the norm is wanted, `stage`, `measure_sums` and `stage_factors` where the rule has sums, `launch` and
    `unbind`; nothing has changed until `launch`.
    """

    name: ClassVar[str]
    # `choose` asks those with a lower one first.
    rank: ClassVar[int]
    # What it runs, as warnings and reports say it, if that is no kernel.
    in_place_of_kernel: ClassVar[str | None]
    # Whether the plan allocates and counts for it; else it makes its state and counts its steps itself.
    keeps_state: ClassVar[bool]
    # Whether it is a `DeviceLauncher`.
    on_device: ClassVar[bool]
    # Whether it is for parameters of which a step is of rows; None for both.
    row_wise: ClassVar[bool | None]
    # Whether it is a `MeasuringLauncher`; else a step is measured by torch, around `launch`.
    measures: ClassVar[bool]

    @classmethod
    def unsupported(cls, member: Member, request: Request) -> str | None:
        """Why it cannot update a parameter; None where it can.

        The answer may depend on the type, dtype, device, layout, density and laziness of what is local, on
        whether its state is scaled, and on the dtype of its gradient, but on nothing else of it.
        """
        ...

    @classmethod
    def key(cls, member: Member, request: Request) -> Hashable:
        """Parameters with equal keys are updated by one launcher."""
        ...

    def __init__(self, members: list[ParamState], requests: Sequence[Request], key: Any) -> None:
        """Parameters with equal keys, for each the request of its group, and the key."""
        ...

    def select(self, rows: tuple[int, ...]) -> None:
        """Set the row of scalars of each member; `IDLE` leaves a member alone."""
        ...

    def bind(self, grads: Sequence[Tensor | None]) -> bool:
        """Read the gradients of what is local; False where a member's dtype, layout or size has changed."""
        ...

    def grad_squares(self) -> Tensor:
        """The exact sum of squares of the gradients, in the int64 words of `backends.exact`, on their device.

        The next call may overwrite it.
        """
        ...

    # How many sums of each term there are for each member; empty where the rule has none.
    units: Sequence[int]

    def measure_sums(self, grad_scale: float | Tensor, kept: NDArray[Any]) -> NDArray[Any]:
        """What the rule measures of this step, once it is staged.

        Args:
            grad_scale: as of `launch`.
            kept: the kept values of each unit, float64 of shape (units, values).

        Returns:
            The sums of each unit of the members in this process, float64 of shape (units, terms); zeros for
            a member that is left alone.
        """
        ...

    def stage_factors(self, factors: NDArray[Any]) -> None:
        """Take what the rule makes of its sums, float64 of shape (units, factors)."""
        ...

    def stage(self, rows: Sequence[StepScalars]) -> None:
        """Take the scalars of this step; raises where one cannot be had, before anything has changed."""
        ...

    def launch(self, grad_scale: float | Tensor) -> None:
        """Update the active parameters and their state, with gradients times `grad_scale`."""
        ...

    def unbind(self) -> None:
        """Let go of the gradients: their memory is for the next forward pass."""
        ...


@dataclass(frozen=True, eq=False, slots=True)
class Prepared:
    """What a launcher computes on its device before a step of its active members.

    Attributes:
        traces: of their carried values and of their scalars, and the envelope before those.
        counts_steps: whether their rule's t counts steps.
        options: those of the step.
        members: int64, of each its row, its column of the counters and its group.
        hyper: float64, the hyperparameters of each group.
        counters: as of `DeviceCounters`.
        words: the sum of squares of all gradients, if it is wanted, and which words it may have.
        words_range: the first of these words, and that after the last.
        scaler: the loss scale, and what is not 0 where a gradient was found not to be finite.
        info: as of `DeviceInfo`.
        first: whether to write `info`, which one launcher does.
    """

    traces: tuple[LiveTrace, LiveTrace]
    counts_steps: bool
    options: StepOptions
    members: Tensor
    hyper: Tensor
    counters: Tensor
    words: Tensor | None
    words_range: tuple[int, int]
    scaler: Tensor
    info: Tensor
    first: bool


class DeviceLauncher(Launcher, Protocol):
    """A launcher that reads scalars, the factor on gradients, and whether to skip, on its device.

    Its step is `select`, `bind`, `grad_squares` if the norm is wanted, `prepare`, `launch_prepared` and
    `unbind`, none of which waits for the device. It steps by the protocol of all launchers as well.
    """

    # The words that its sum of squares may have.
    words_range: tuple[int, int]

    def prepare(self, prepared: Prepared) -> None:
        """Compute on the device what the step reads there."""
        ...

    def launch_prepared(self) -> None:
        """Update the active parameters and their state."""
        ...


class MeasuringLauncher(Launcher, Protocol):
    """A launcher that measures a step as it takes it."""

    def launch_measured(self, grad_scale: float | Tensor, limits: NDArray[Any]) -> NDArray[Any]:
        """As `launch`; measure the step as it goes.

        Args:
            grad_scale: as of `launch`.
            limits: `backends.numba.LIMITS` of each member.

        Returns:
            `backends.numba.MEASURES` of each member.
        """
        ...
