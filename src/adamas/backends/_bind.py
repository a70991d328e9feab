"""A rule's functions over other arrays: the same code, with another namespace for `xp`."""

from __future__ import annotations

import dis
import functools
import types
from collections.abc import Callable
from typing import Any

from ..rules import Rule
from ..rules._base import Scalars, Update
from ._names import FUNCTIONS, array_modules, names_of
from ._namespaces import HOST, Named, Torch

__all__ = ["HOST", "array_carry", "array_scalars", "bind", "host_carry", "host_scalars"]


def bind(function: Update, namespace: Any) -> Update:
    """`function`, and the functions that it calls, with `namespace` for `xp`.

    `np.sqrt`, `math.sqrt` and `torch.sqrt` become the namespace's as well, and `max` and `min` its `maximum`
    and `minimum`. In-place operators make new arrays, because `m *= beta` would change the caller's. Other
    names are looked up when the function runs, so a changed constant is seen.
    """
    assert isinstance(function, types.FunctionType)
    if isinstance(namespace, types.ModuleType) and namespace.__name__ == "torch":
        namespace = Torch(namespace)
    elif not hasattr(namespace, "atan2") and hasattr(namespace, "arctan2"):
        namespace = Named(namespace)
    return _bound(function, namespace, {})


def _bound(function: types.FunctionType, namespace: Any, done: dict[Any, Any]) -> Update:
    if function in done:
        found: Update = done[function]
        return found
    scope = _Scope(function.__globals__, namespace, done)
    code, cells = _without_in_place(function.__code__), function.__closure__ or ()
    # Numbers stay in their cells, where a change is seen.
    own = tuple(types.CellType() if isinstance(_closed_over(cell), _CODE) else cell for cell in cells)
    result = types.FunctionType(code, scope, function.__name__, function.__defaults__, own or None)
    result.__kwdefaults__ = function.__kwdefaults__
    done[function] = result  # before its cells are filled: it may be in one of them
    for name, cell, new in zip(code.co_freevars, cells, own, strict=True):
        if new is not cell:
            value = _closed_over(cell)
            new.cell_contents = namespace if name == "xp" else _adapted(value, namespace, done)
    return result


_CODE = (types.FunctionType, types.ModuleType)


def _closed_over(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # it is not assigned yet
        return None


def _adapted(value: Any, namespace: Any, done: dict[Any, Any]) -> Any:
    """What a name of this value means over arrays of the namespace."""
    if isinstance(value, types.FunctionType):
        if value in done:
            return done[value]
        return _bound(value, namespace, done) if _needs_binding(value) else value
    if isinstance(value, types.ModuleType):
        return _Alias(value, namespace) if value in array_modules() else _View(value, namespace, done)
    return value


def _needs_binding(function: Update, above: tuple[Any, ...] = ()) -> bool:
    """Whether a function, or one that it calls, means something else over other arrays."""
    code = function.__code__
    return _without_in_place(code) is not code or any(
        name.is_xp
        or name.value is max
        or name.value is min
        or (
            isinstance(name.resolved, types.FunctionType)
            and name.resolved not in (*above, function)
            and _needs_binding(name.resolved, (*above, function))
        )
        for name in names_of(function)
    )


class _Scope(dict[str, Any]):
    """The globals of a bound function: those of the function, looked up when they are used, but for `xp`."""

    def __init__(self, names: dict[str, Any], namespace: Any, done: dict[Any, Any]) -> None:
        super().__init__(xp=namespace)
        self._names, self._namespace, self._done = names, namespace, done

    def __missing__(self, name: str) -> Any:
        value = self._names.get(name, self)
        if value is not self:
            return _adapted(value, self._namespace, self._done)
        if name in ("max", "min") and self._namespace is not HOST:
            return _extreme(name, self._namespace)
        raise KeyError(name)


def _extreme(name: str, namespace: Any) -> Callable[..., Any]:
    """Python's `max` or `min`, elementwise."""
    function = getattr(namespace, {"max": "maximum", "min": "minimum"}[name])

    def extreme(*values: Any) -> Any:
        return functools.reduce(function, values if len(values) > 1 else values[0])

    return extreme


class _Alias:
    """A module whose functions are the namespace's where that has them."""

    def __init__(self, module: types.ModuleType, namespace: Any) -> None:
        self._module, self._namespace = module, namespace

    def __getattr__(self, name: str) -> Any:
        return getattr(self._namespace if name in FUNCTIONS else self._module, name)


class _View:
    """A module of helpers, whose functions are bound."""

    def __init__(self, module: types.ModuleType, namespace: Any, done: dict[Any, Any]) -> None:
        self._module, self._namespace, self._done = module, namespace, done

    def __getattr__(self, name: str) -> Any:
        return _adapted(getattr(self._module, name), self._namespace, self._done)


_PLAIN: dict[int, tuple[types.CodeType, types.CodeType]] = {}


def _without_in_place(code: types.CodeType) -> types.CodeType:
    """The code with every in-place operator as the plain one; itself where there is none."""
    found = _PLAIN.get(id(code))
    if found is None:
        found = _PLAIN[id(code)] = code, _with_plain_operators(code)
    return found[1]


def _with_plain_operators(code: types.CodeType) -> types.CodeType:
    changed = bytearray(code.co_code)
    for instruction in dis.get_instructions(code):
        symbol = instruction.argrepr
        if instruction.opname == "BINARY_OP" and symbol.endswith("="):
            changed[instruction.offset + 1] = _operator(symbol[:-1])
    return code if changed == code.co_code else code.replace(co_code=bytes(changed))


@functools.cache
def _operator(symbol: str) -> int:
    """The number by which the bytecode of this Python knows an operator."""
    instructions = dis.get_instructions(compile(f"a {symbol} b", "", "eval"))
    return next(i.arg for i in instructions if i.opname == "BINARY_OP" and i.arg is not None)


# For each class, the method as it stands in it, and the same over plain floats.
_HOST_SCALARS: dict[type[Rule], tuple[Any, Any]] = {}
_HOST_CARRY: dict[type[Rule], tuple[Any, Any]] = {}


def host_scalars(rule: Rule, t: int, *carried: float) -> Scalars:
    """The scalars of step t as plain floats, in the order `update` takes them."""
    cls = type(rule)
    original, function = _HOST_SCALARS.get(cls, (None, None))
    if original is not cls.scalars:
        original, function = _HOST_SCALARS[cls] = _over_floats(rule, "scalars", t, carried)
    scalars: Scalars = function(rule, t, *carried)
    return scalars


def host_carry(rule: Rule, t: int, *carried: float) -> tuple[float, ...]:
    """The carried values of step t from those of step t - 1, as plain floats."""
    cls = type(rule)
    original, function = _HOST_CARRY.get(cls, (None, None))
    if original is not cls.carry:
        original, function = _HOST_CARRY[cls] = _over_floats(rule, "carry", t, carried)
    values: tuple[float, ...] = function(rule, t, *carried)
    return values


def _over_floats(rule: Rule, name: str, t: int, carried: tuple[float, ...]) -> tuple[Any, Any]:
    """A method over plain floats, with what it returns made floats where this first call shows others."""
    cls = type(rule)
    bound = _methods(cls, HOST)
    original = getattr(cls, name)
    function = bound.get(name, original)
    if bound.keys() - {"scalars", "carry"}:
        function = functools.partial(_called, cls, HOST, name)
    if any(type(x) is not float for x in function(rule, t, *carried)):
        function = functools.partial(_floats, function)
    return original, function


def _floats(function: Any, rule: Rule, t: int, *carried: float) -> tuple[float, ...]:
    return tuple(map(float, function(rule, t, *carried)))


def array_scalars(rule: Rule, t: Any, *carried: Any, xp: Any) -> tuple[Any, ...]:
    """The scalars of step t where t or a hyperparameter is an array or a traced number of `xp`."""
    values: tuple[Any, ...] = _called(type(rule), xp, "scalars", rule, t, *carried)
    return values


def array_carry(rule: Rule, t: Any, *carried: Any, xp: Any) -> tuple[Any, ...]:
    """The carried values of step t, in the same way."""
    values: tuple[Any, ...] = _called(type(rule), xp, "carry", rule, t, *carried)
    return values


def _called(cls: type[Rule], namespace: Any, name: str, rule: Rule, t: Any, *carried: Any) -> Any:
    """A method of a rule in which `self`'s methods are bound too."""
    own = object.__new__(_class_over(cls, namespace))
    own.__dict__.update(rule.__dict__)
    return getattr(own, name)(t, *carried)


def _class_over(cls: type[Rule], namespace: Any) -> type[Rule]:
    return type(cls.__name__, (cls,), _methods(cls, namespace))


# Functions of a rule that `scalars` and `carry` do not call.
_OF_ARRAYS = ("form", "update", "measure", "factors", "averaged")


def _methods(cls: type[Rule], namespace: Any) -> dict[str, Any]:
    """The methods of a class that mean something else over other arrays, bound."""
    found = {}
    for name in dir(cls):
        method = getattr(cls, name)
        own = isinstance(method, types.FunctionType) and not name.startswith("__")
        if own and name not in _OF_ARRAYS and _needs_binding(method):
            found[name] = bind(method, namespace)
    return found
