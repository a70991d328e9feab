"""A parameter as its user holds it (an array, a dict, nested) and as one flat vector."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["Array", "Layout"]

Array = np.ndarray[Any, Any]

# What kernels compute with; what other numbers there are becomes float64 or is refused.
_REAL = frozenset(np.dtype(name) for name in ("float16", "float32", "float64"))


@dataclass(frozen=True)
class _Leaf:
    """One array of a tree: its place in the vector, and how its user holds it."""

    path: str
    start: int
    stop: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]


class Layout:
    """The structure of `x0`, by which a vector becomes such a tree, and such a tree a vector.

    A mapping, list or tuple that holds arrays (or more of these) is a tree; a list of numbers is an array, as
    in SciPy. Integers become float64. The vector has the widest type of all leaves; a leaf is handed out in
    its own.
    """

    def __init__(self, x0: Any) -> None:
        """Read the structure.

        Raises:
            TypeError: a leaf has no real numbers.
            ValueError: there is not one element, or one is not finite.
        """
        self._example = x0 if _is_tree(x0) else None
        self._leaves: list[_Leaf] = []
        found = []
        place = 0
        for path, leaf in _walk(x0, "x0"):
            array = _real(path, leaf)
            self._leaves.append(_Leaf(path, place, place + array.size, array.shape, array.dtype))
            place += array.size
            found.append(array.ravel())
        if place == 0:
            raise ValueError("x0 has no elements: there is nothing to minimize over")
        self.size = place
        self.dtype = np.result_type(*(leaf.dtype for leaf in self._leaves))
        self.start = np.concatenate(found).astype(self.dtype)
        self.shape = self._leaves[0].shape if self._example is None else None
        self._plain = self.shape is not None and len(self.shape) == 1

    def build(self, vector: Array) -> Any:
        """Return the vector's values as a tree of new arrays."""
        if self._plain:
            return vector.copy()
        if self.shape is not None:
            return vector.reshape(self.shape).copy()
        leaves = iter(self._leaves)
        return _rebuild(self._example, lambda: _take(vector, next(leaves)))

    def read(self, what: str, tree: Any, out: Array) -> None:
        """Write a tree of this structure into a vector.

        Raises:
            TypeError: it has complex numbers, or none.
            ValueError: it has another structure or other shapes; `what` names it.
        """
        if self._plain and type(tree) is np.ndarray and tree.dtype == self.dtype and tree.shape == self.shape:
            out[:] = tree  # the usual case, without the checks
            return
        if self.shape is not None:
            self._write(what, tree, self._leaves[0], out)
            return
        if not _is_tree(tree):
            raise ValueError(f"{what} must be a tree like x0, with {self.describe()}; got {_text(tree)}")
        got = list(_walk(tree, "x0"))
        if [path for path, _ in got] != [leaf.path for leaf in self._leaves]:
            names = ", ".join(path for path, _ in got)
            raise ValueError(f"{what} must be a tree like x0, with {self.describe()}; got one with {names}")
        for leaf, (path, value) in zip(self._leaves, got, strict=True):
            self._write(f"{what}{path.removeprefix('x0')}", value, leaf, out[leaf.start : leaf.stop])

    def describe(self) -> str:
        """The leaves with their shapes, in words."""
        shown = [f"{leaf.path} of shape {leaf.shape}" for leaf in self._leaves[:4]]
        return ", ".join(shown) + (", ..." if len(self._leaves) > 4 else "")

    def signature(self) -> list[tuple[str, tuple[int, ...]]]:
        """The paths and shapes of the leaves, by which two structures are compared."""
        return [(leaf.path, leaf.shape) for leaf in self._leaves]

    def _write(self, what: str, value: Any, leaf: _Leaf, out: Array) -> None:
        array = value if type(value) is np.ndarray else _as_array(what, value)
        if array.shape != leaf.shape:
            raise ValueError(f"{what} must have the shape {leaf.shape} of {leaf.path}, got {array.shape}")
        try:
            np.copyto(out, array if self._plain else array.reshape(-1), casting="same_kind")
        except TypeError:
            raise TypeError(f"{what} must hold real numbers, got {array.dtype}") from None


def _take(vector: Array, leaf: _Leaf) -> Array:
    return vector[leaf.start : leaf.stop].reshape(leaf.shape).astype(leaf.dtype)


def _is_tree(value: Any) -> bool:
    if isinstance(value, Mapping):
        return True
    return isinstance(value, (list, tuple)) and any(
        np.ndim(x) > 0 if _is_leaf(x) else _is_tree(x) for x in value
    )


def _is_leaf(value: Any) -> bool:
    return not isinstance(value, (Mapping, list, tuple))


def _walk(tree: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Each leaf with its path, mappings in the order of their keys' text, so that order is no matter."""
    if isinstance(tree, Mapping):
        for key in sorted(tree, key=repr):
            yield from _walk(tree[key], f"{path}[{key!r}]")
    elif _is_tree(tree):
        for place, child in enumerate(tree):
            yield from _walk(child, f"{path}[{place}]")
    else:
        yield path, tree


def _rebuild(tree: Any, leaf: Any) -> Any:
    if isinstance(tree, Mapping):
        done = {key: _rebuild(tree[key], leaf) for key in sorted(tree, key=repr)}
        return {key: done[key] for key in tree}
    if _is_tree(tree):
        children = [_rebuild(child, leaf) for child in tree]
        if hasattr(tree, "_fields"):  # a named tuple
            return type(tree)(*children)
        return tuple(children) if isinstance(tree, tuple) else children
    return leaf()


def _real(path: str, value: Any) -> Array:
    array = _as_array(path, value)
    if array.dtype.kind in "iu":
        return array.astype(np.float64)
    if array.dtype.kind == "c":
        raise TypeError(
            f"{path} is complex: minimize over its real and imaginary parts, as in x0.view(float)"
        )
    if array.dtype.newbyteorder("=") not in _REAL:
        raise TypeError(f"{path} must hold float16, float32, float64 or integers, got {array.dtype}")
    if not np.isfinite(array).all():
        raise ValueError(f"{path} must be finite, got {array[~np.isfinite(array)].flat[0]}")
    return array.astype(array.dtype.newbyteorder("="))


def _as_array(what: str, value: Any) -> Array:
    try:
        array = np.asarray(value)
    except ValueError:
        array = np.array(None)
    if array.dtype.kind not in "fiuc":
        raise TypeError(f"{what} must be an array of numbers, got {_text(value)}")
    return array


def _text(value: Any) -> str:
    return f"{type(value).__name__} {value!r}"[:80]
