"""A rule and its storage formats to one compiled C function, through generated source in a per-user folder.

The source is a real file, so that tracebacks and debuggers show it and Numba keeps the machine
code beside it: a second process compiles nothing.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numba.core.errors import NumbaError

from ... import formats
from ...formats import Format
from ...rules import Rule
from .. import exact
from .._cautious import CAUTIOUS, update_of
from .._columns import COPY, columns
from .._recipe import ENVELOPE, Recipe, SumsRecipe, recipe_of, sums_recipe_of
from . import halves, machine, measuring, randomness, slices, toolbox
from .cache import load_module
from .emit import emit_conversion, emit_step
from .norm import emit_norm
from .source import RuleSourceError, arithmetic
from .sums import emit_sums
from .templates import by_rows

__all__ = ["Kernel", "compile_conversion", "compile_norm", "compile_rule", "compile_sums"]


@dataclass(frozen=True, eq=False)
class Kernel:
    """One compiled pass, the C function `void step(int64 *job)` at `address`.

    A job is eight int64: a counter that starts at 0, the addresses of `table`, `chunks` and
    `scalars`, the number of chunks, and the addresses of `tensor_info`, `keys` and `grad_scale`. A row
    of `table` has the addresses of one tensor's `arrays`; a row of `tensor_info` its number of elements,
    the index that keys its random bits, its row of scalars, negative where the tensor is to be left
    alone, and the elements of a row, from each of which blocks begin; a row of `scalars` has `n_scalars`
    values of `dtype`, and one of `keys` the key of its random bits; `grad_scale` is one value of `dtype`;
    a chunk is (tensor, first element, last element + 1, shift), and begins with a block; element k of a
    tensor draws the random bits of element k + shift, which is its number in a tensor of which this one is
    a shard. Any number of threads may run a job at once.

    Where a rule has sums, the job has two more addresses at 10 and 11: of `units`, the first unit of each
    tensor and the elements of one, and of `factors`, a row of `n_factors` values of `dtype` for each unit.
    """

    address: int
    formats: Mapping[str, Format]
    average: bool
    n_scalars: int
    dtype: np.dtype[Any]
    path: Path
    owner: Any  # keeps the machine code alive
    cautious: bool = False
    n_factors: int = 0

    @property
    def arrays(self) -> tuple[str, ...]:
        """The columns of the table: the arrays by name in `formats`, each scaled one followed by its scales,
        and the average if `average`."""
        return columns(self.formats, self.average)

    @property
    def rounds(self) -> bool:
        """Whether anything is stored with random bits."""
        return any(format.rounds for name, format in self.formats.items() if name != "g")


def compile_rule(
    rule: Rule,
    p: str | np.dtype[Any],
    *,
    g: str | None = None,
    slots: Mapping[str, str] | None = None,
    average: bool = False,
    copy: str | None = None,
    rows: bool = False,
    measured: bool = False,
    cautious: bool = False,
) -> Kernel:
    """The kernel of `rule`, compiled or loaded once a process.

    Args:
        rule: the update rule; of its hyperparameters only those matter that choose other slots, and how small
            `eps` is: below 1e-10 in float32, subnormal state is kept as long as it matters.
        p: the format of the parameters, by name or dtype.
        g: that of the gradients; the parameters' own by default.
        slots: that of each slot; the type of the computation (float32, or float64 where p is) by default.
        average: whether a running average of the parameters is kept, in the type of the computation.
        copy: the format in which the new parameters are written once more, rounded to nearest; one that has
            `Format.nearest`.
        rows: whether it is for rows of matrices, see `RowJob`.
        measured: whether it measures its step, see `MeasuredJob`.
        cautious: whether its decay is cautious; a row of scalars then has all of `Envelope`.

    Raises:
        RuleSourceError: the rule's update cannot become a kernel.
        TypeError: the rule's definition is at fault: see `check_rule`.
        ValueError: there is no such format, or it is scaled and another is float64.
    """
    recipe = recipe_of(rule, str(p), g, slots, average, copy, cautious)
    if rows and recipe.factors:
        raise RuleSourceError(
            f"{recipe.title} needs sums over whole tensors, and a step by rows sees some rows"
        )
    text = arithmetic(recipe.title, update_of(rule, cautious), recipe.inputs, recipe.n_arrays)
    root = rule.gauge(1).root or "" if measured else None
    return _compile(recipe, text, rows, root)


def compile_sums(rule: Rule, kernel: Kernel) -> Kernel:
    """The pass that measures before that of `kernel`, which is the rule's; see `SumsJob`.

    Raises:
        RuleSourceError, TypeError, ValueError: as of `compile_rule`.
    """
    names = {array: format.name for array, format in kernel.formats.items()}
    p, g, copy = names.pop("p"), names.pop("g"), names.pop(COPY, None)
    step = recipe_of(rule, p, g, names, kernel.average, copy, kernel.cautious)
    recipe = sums_recipe_of(rule, step)
    reduction = rule.form().reduction
    assert reduction is not None
    text = arithmetic(recipe.title, reduction.measure, recipe.inputs, len(recipe.formats), recipe.n_terms)
    return _compile_sums(recipe, text, kernel.dtype)


@functools.cache
def _compile_sums(recipe: SumsRecipe, text: str, dtype: np.dtype[Any]) -> Kernel:
    chosen = dict(recipe.formats)
    name = f"{recipe.title.lower()}_sums_{chosen['p'].name}"
    module = _loaded(name, emit_sums(recipe, text, _stamp()), recipe.title, "measure")
    path = Path(str(module.__file__))
    width = recipe.before + recipe.n_scalars
    return Kernel(
        module.step.address, chosen, False, width, dtype, path, module.step, n_factors=recipe.n_terms
    )


def _loaded(name: str, text: str, title: str, function: str) -> Any:
    """The module of a kernel, compiled."""
    try:
        return load_module(name, text)
    except NumbaError as error:
        reason = " ".join(str(error).split())[:120]
        raise RuleSourceError(f"{title}.{function} cannot be compiled by Numba: {reason}") from error


@functools.cache
def compile_norm(g: str) -> Kernel:
    """The kernel that sums the squares of gradients in the format `g` exactly, to the words of `exact`."""
    format = formats.get(g)
    module = load_module(f"norm_{g}", emit_norm(format, _stamp()))
    path = Path(str(module.__file__))
    return Kernel(module.step.address, {"g": format}, False, 1, np.dtype(np.float64), path, module.step)


@functools.cache
def compile_conversion(source: str, target: str, signed: bool) -> Kernel:
    """The kernel that reads an array "g" in one format and writes "x" in another, rounded to nearest.

    Args:
        source, target: formats that compute in float32, one of them scaled.
        signed: whether values may be negative.
    """
    chosen = {"g": formats.get(source, signed), "x": formats.get(target, signed)}
    text = emit_conversion(chosen["g"], chosen["x"], _stamp())
    module = load_module(f"{source}_to_{target}", text)
    path = Path(str(module.__file__))
    return Kernel(module.step.address, chosen, False, 0, np.dtype(np.float32), path, module.step)


@functools.cache
def _compile(recipe: Recipe, text: str, rows: bool, measured: str | None) -> Kernel:
    title, chosen, scalars = recipe.title, dict(recipe.formats), recipe.scalars
    signs = None if recipe.signs is None else dict(recipe.signs)
    text = emit_step(title, text, chosen, recipe.average, scalars, _stamp(), signs, measured, recipe.factors)
    if rows:
        width = len(columns(chosen, recipe.average))
        text = by_rows(text, width, max(format.stored.itemsize for format in chosen.values()))
    module = _loaded(f"{title.lower()}_{chosen['p'].name}", text, title, "update")
    return Kernel(
        module.step.address,
        chosen,
        recipe.average,
        len(ENVELOPE) + len(scalars),
        recipe.dtype,
        Path(str(module.__file__)),
        module.step,
        CAUTIOUS in scalars,
        len(recipe.factors),
    )


@functools.cache
def _stamp() -> str:
    """Changes with the toolbox, the formats and the CPU's vectors, which Numba's own cache does not watch."""
    files = [
        Path(str(module.__file__))
        for module in (exact, halves, machine, measuring, randomness, slices, toolbox)
    ]
    files += sorted(Path(str(formats.__file__)).parent.glob("*.py"))
    content = [*(file.read_bytes() for file in files), repr(machine.vector_bits()).encode()]
    return "toolbox " + hashlib.sha256(b"".join(content)).hexdigest()[:16]
