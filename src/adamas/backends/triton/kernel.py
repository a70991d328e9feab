"""A rule and its storage formats to one Triton function, through generated source in a per-user folder."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...formats import Format
from ...rules import Rule
from .._base import RuleSourceError
from .._cautious import update_of
from .._check import trace_measure
from .._columns import columns
from .._generated import load_generated
from .._recipe import ENVELOPE, Recipe, SumsRecipe, recipe_of, sums_recipe_of
from .._trace import trace
from . import sums
from .emit import SIGNATURE, emit_step
from .text import update_text
from .tiles import TILE

__all__ = [
    "THREADS",
    "Kernel",
    "SumsKernel",
    "chunk_size",
    "compile_rule",
    "compile_sums",
    "pointer_types",
    "stamp_of",
]

# Those of a program: in a whole tile each has 8 elements, 16 bytes of the narrowest format without scales.
THREADS = 128


@dataclass(frozen=True, eq=False)
class Kernel:
    """One pass over all parameters, the Triton function `step`; program k takes chunk k.

    Its arguments are addresses of the device: `table`, `chunks`, `info`, `keys` and `scalars` as of
    `backends.numba.Kernel`, whose `tensor_info` is `info`, and `control`, two numbers of `dtype`: the factor
    on all gradients, and one that is not zero where the step is to change nothing. Where there are factors,
    they come last: `n_factors` numbers of `dtype` a tensor.
    """

    step: Any
    formats: Mapping[str, Format]
    average: bool
    n_scalars: int
    dtype: np.dtype[Any]
    path: Path
    cautious: bool = False
    n_factors: int = 0

    @property
    def arrays(self) -> tuple[str, ...]:
        """The columns of the table."""
        return columns(self.formats, self.average)

    @property
    def rounds(self) -> bool:
        """Whether anything is stored with random bits."""
        return any(format.rounds for name, format in self.formats.items() if name != "g")

    @property
    def signature(self) -> tuple[str, ...]:
        """The types of the arguments, as `launch` takes them."""
        return pointer_types((*SIGNATURE, *["*real"] * (self.n_factors > 0)), self.dtype)


@dataclass(frozen=True, eq=False)
class SumsKernel:
    """The Triton function `step`, which measures: it writes the sums of each chunk; program k takes chunk k.

    Its arguments are addresses of the device: `table`, `chunks`, `info`, `scalars` and `control` as of the
    kernel that steps, `kept`, `n_kept` values of `dtype` a tensor, and `partial`, which it writes: float64 of
    shape (chunks, `n_terms`). `kernels.sums.add_chunks` makes sums of tensors of that.
    """

    step: Any
    n_terms: int
    n_kept: int
    dtype: np.dtype[Any]

    @property
    def signature(self) -> tuple[str, ...]:
        """The types of the arguments, as `launch` takes them."""
        return pointer_types(sums.SIGNATURE, self.dtype)


def pointer_types(signature: tuple[str, ...], dtype: np.dtype[Any]) -> tuple[str, ...]:
    """A signature with the type of the computation in place of "real"."""
    return tuple(each.replace("real", f"fp{8 * dtype.itemsize}") for each in signature)


def compile_rule(
    rule: Rule,
    p: str | np.dtype[Any],
    *,
    g: str | None = None,
    slots: Mapping[str, str] | None = None,
    average: bool = False,
    cautious: bool = False,
) -> Kernel:
    """The kernel of `rule`; arguments and errors are those of `backends.numba.compile_rule`.

    Machine code is made at the first launch, for the device of that launch.
    """
    recipe = recipe_of(rule, str(p), g, slots, average, cautious=cautious)
    if recipe.by_rows:
        raise RuleSourceError(f"{recipe.title} needs sums over rows, which no kernel of a GPU measures yet")
    arrays = len(recipe.formats)
    found = trace(recipe.title, update_of(rule, cautious), recipe.inputs, arrays)
    try:
        text = update_text(found, arrays, recipe.dtype == np.float64)
    except RuleSourceError as error:
        raise RuleSourceError(f"{recipe.title}.update: {error}") from None
    if recipe.factors:
        _measure_text(rule, sums_recipe_of(rule, recipe), recipe.dtype)
    return _compile(recipe, text, cautious)


def compile_sums(rule: Rule, kernel: Kernel) -> SumsKernel:
    """The pass that measures before that of `kernel`, which is the rule's."""
    names = {array: format.name for array, format in kernel.formats.items()}
    p, g = names.pop("p"), names.pop("g")
    step = recipe_of(rule, p, g, names, kernel.average, cautious=kernel.cautious)
    recipe = sums_recipe_of(rule, step)
    return _compile_sums(recipe, _measure_text(rule, recipe, kernel.dtype), kernel.dtype)


def _measure_text(rule: Rule, recipe: SumsRecipe, dtype: np.dtype[Any]) -> str:
    """The text of what a rule measures, as a function `update`."""
    try:
        return update_text(trace_measure(rule, rule.form()), len(recipe.formats), dtype == np.float64)
    except RuleSourceError as error:
        raise RuleSourceError(f"{recipe.title}.measure: {error}") from None


@functools.cache
def _compile(recipe: Recipe, text: str, cautious: bool) -> Kernel:
    chosen = dict(recipe.formats)
    name = f"gpu_{recipe.title.lower()}_{chosen['p'].name}"
    module = load_generated(name, emit_step(recipe, text, stamp_of("toolbox.py")))
    path, n_scalars = Path(str(module.__file__)), len(ENVELOPE) + len(recipe.scalars)
    n_factors = len(recipe.factors)
    return Kernel(module.step, chosen, recipe.average, n_scalars, recipe.dtype, path, cautious, n_factors)


@functools.cache
def _compile_sums(recipe: SumsRecipe, text: str, dtype: np.dtype[Any]) -> SumsKernel:
    name = f"gpu_{recipe.title.lower()}_sums_{dict(recipe.formats)['p'].name}"
    module = load_generated(name, sums.emit_sums(recipe, text, stamp_of("toolbox.py")))
    return SumsKernel(module.step, recipe.n_terms, len(recipe.kept), dtype)


@functools.cache
def stamp_of(*files: str) -> str:
    """A line that changes with these files beside this one, whose text is not in the kernels'."""
    content = b"".join((Path(__file__).parent / file).read_bytes() for file in files)
    return f"{' '.join(files)} {hashlib.sha256(content).hexdigest()[:16]}"


def chunk_size(elements: int, programs: int = 1 << 14) -> int:
    """The elements of a chunk: about so many `programs` have one each, but none has too many.

    A large GPU runs 500 to 900 programs at once, some of which end before others.
    """
    size = TILE
    while size < _LARGEST_CHUNK and elements // size > programs:
        size *= 2
    return size


_LARGEST_CHUNK = 1 << 16
