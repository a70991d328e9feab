"""From a rule's `update` to its kernel's arithmetic: the rule's own text, for one compute type."""

from __future__ import annotations

import ast
import inspect
import numbers
import textwrap
import types
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np

from ...rules._base import Update
from .._base import RuleSourceError
from .._names import FUNCTIONS, Name, names_of, text_key
from .._symbols import Trace, symbolic_namespace
from .._trace import trace

__all__ = ["RuleSourceError", "arithmetic"]

_TEXTS: dict[Hashable, str] = {}


def arithmetic(
    title: str, update: Update, inputs: Sequence[str], n_arrays: int, terms: int | None = None
) -> str:
    """The source of `update`, renamed so, and of the functions it calls, for a compute type called `real`.

    Literals and constants become `real(...)`: a plain Python number would widen a float32 kernel to
    float64. The text is the rule's own where it can be read and says what the function does, which is
    seen by tracing both: a file may have been edited since it was imported. Otherwise, for a rule typed at
    a prompt, a lambda or a loop, it is what tracing has found, an operation a line.

    Args:
        title: the rule's name.
        update: the function.
        inputs: the names of its arguments.
        n_arrays: how many of them are elements of arrays; the rest are scalars of the step.
        terms: how many terms it returns where it is a rule's `measure`; None for an update.

    Raises:
        RuleSourceError: it uses something that a kernel does not have.
        TypeError: it fails on arrays as well.
    """
    key = text_key(update), tuple(inputs), n_arrays, terms
    if key not in _TEXTS:
        found = trace(title, update, inputs, n_arrays, results=terms)
        text = _own_text(update) if found.literal else None
        if text is None or not _says(text, found, n_arrays, terms):
            text = "@inline\n" + found.text()
        _TEXTS[key] = text
    return _TEXTS[key]


def _says(text: str, found: Trace, n_arrays: int, terms: int | None) -> bool:
    """Whether a text computes what a function was found to compute."""
    scope: dict[str, Any] = {"inline": lambda f: f, "real": float, "numpy": np, "xp": symbolic_namespace()}
    try:
        exec(compile(text, "<rule>", "exec"), scope)
        read = trace("", scope["update"], found.inputs, n_arrays, scope["xp"], terms)
    except Exception:  # whatever it does, it is not the same
        return False
    return read.same_as(found)


def _own_text(update: Update) -> str | None:
    """The source of a function and of those it calls, each under a number; None where it cannot be read.

    Functions are numbered because two modules may have one of the same name, and so may the kernel.
    """
    texts: list[str] = []
    try:
        _collect(update, {update: "update"}, texts)
    except (OSError, TypeError, SyntaxError, _Unreadable):
        return None
    return "\n\n\n".join(texts)


class _Unreadable(Exception):  # noqa: N818 - never leaves this file
    """The source is not that of a plain function."""


def _collect(function: Update, names: dict[Update, str], texts: list[str]) -> None:
    """Append the text of `function`, after those of the functions it calls; `names` has their new names."""
    tree = _parse(function)
    args = [*tree.args.posonlyargs, *tree.args.args]
    if tree.args.kwonlyargs or tree.args.vararg or tree.args.kwarg or "real" in function.__code__.co_varnames:
        raise _Unreadable
    meanings: dict[tuple[str, str | None], ast.expr] = {}
    for name in names_of(function):
        meanings[name.name, name.attribute] = _meaning(name, names, texts)
    tree = _Meanings(meanings, set(function.__code__.co_varnames)).visit(tree)
    tree.name, tree.decorator_list, tree.returns = names[function], [], None
    for arg in args:
        arg.annotation = None
    texts.append("@inline\n" + ast.unparse(ast.fix_missing_locations(tree)))


def _parse(function: Update) -> ast.FunctionDef:
    text = textwrap.dedent(inspect.getsource(function))
    tree = next((n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.FunctionDef)), None)
    if tree is None or tree.name != function.__name__ or not _is_straight(tree):
        raise _Unreadable
    if ast.get_docstring(tree) is not None:
        tree.body = tree.body[1:]
    return tree


_STATEMENTS = (ast.Assign, ast.AnnAssign, ast.AugAssign, ast.Return, ast.Expr)
_EXPRESSIONS = (
    ast.BinOp,
    ast.UnaryOp,
    ast.Compare,
    ast.Call,
    ast.Name,
    ast.Attribute,
    ast.Constant,
    ast.Tuple,
)
_PARTS = (ast.operator, ast.unaryop, ast.cmpop, ast.expr_context, ast.keyword)


def _is_straight(tree: ast.FunctionDef) -> bool:
    """Whether a function is assignments and a `return`, which Numba takes as they stand."""
    straight = _STATEMENTS + _EXPRESSIONS + _PARTS
    return all(isinstance(node, straight) for part in tree.body for node in ast.walk(part))


def _meaning(name: Name, names: dict[Update, str], texts: list[str]) -> ast.expr:
    """What stands in a kernel for a name outside of a function, or for its attribute."""
    value = name.resolved
    if name.is_xp and name.attribute in FUNCTIONS:
        return ast.Attribute(ast.Name("xp", ast.Load()), name.attribute, ast.Load())
    if value in (abs, max, min):
        which = {abs: "abs", max: "maximum", min: "minimum"}[value]
        return ast.Attribute(ast.Name("xp", ast.Load()), which, ast.Load())
    if not isinstance(value, bool) and isinstance(value, numbers.Real):
        return _real(float(value))
    if not isinstance(value, types.FunctionType):
        raise _Unreadable
    if value not in names:
        names[value] = f"{value.__name__}_{len(names)}"
        _collect(value, names, texts)
    return ast.Name(names[value], ast.Load())


def _real(number: float) -> ast.expr:
    constant: ast.expr = ast.Constant(number)
    if np.isnan(number):
        constant = ast.Attribute(ast.Name("numpy", ast.Load()), "nan", ast.Load())
    return ast.Call(ast.Name("real", ast.Load()), [constant], [])


class _Meanings(ast.NodeTransformer):
    """Names outside of a function to what they stand for, and numbers to `real(number)`.

    Integer exponents stay: Numba expands x**2 to x*x.
    """

    def __init__(self, meanings: dict[tuple[str, str | None], ast.expr], locals_: set[str]) -> None:
        self.meanings, self.locals = meanings, locals_

    def visit_Constant(self, node: ast.Constant) -> ast.expr:
        if isinstance(node.value, bool) or not isinstance(node.value, (int, float)):
            return node
        return _real(node.value)

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return node if node.id in self.locals else self.meanings.get((node.id, None), node)

    def visit_Attribute(self, node: ast.Attribute) -> ast.expr:
        if isinstance(node.value, ast.Name) and node.value.id not in self.locals:
            meaning = self.meanings.get((node.value.id, node.attr))
            if meaning is not None:
                return meaning
        self.generic_visit(node)
        return node

    def visit_BinOp(self, node: ast.BinOp) -> ast.expr:
        node.left = self.visit(node.left)
        whole = isinstance(node.right, ast.Constant) and isinstance(node.right.value, int)
        if not (isinstance(node.op, ast.Pow) and whole):
            node.right = self.visit(node.right)
        return node
