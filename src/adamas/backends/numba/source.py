"""From a rule's `update` to its kernel's arithmetic: the rule's own source, for one compute type."""

from __future__ import annotations

import ast
import inspect
import textwrap
import types

from ...rules._base import Update

__all__ = ["RuleSourceError", "arithmetic"]


class RuleSourceError(ValueError):
    """An `update` that cannot become a kernel; the message says what in it stands in the way."""


def arithmetic(update: Update) -> str:
    """The source of `update`, renamed so, after the functions it calls, for a compute type called `real`.

    Literals and module constants become `real(...)`: a plain Python number would widen a float32
    kernel to float64.

    Raises:
        RuleSourceError: the source cannot be read, or it uses something a kernel does not have.
    """
    functions: dict[str, str] = {}
    _collect(update, "update", functions)
    return "\n\n\n".join(functions.values())


def _collect(function: Update, name: str, functions: dict[str, str]) -> None:
    tree = _parse(function)
    locals_ = {arg.arg for arg in tree.args.args} | {
        node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    }
    assert isinstance(function, types.FunctionType)
    constants: dict[str, float] = {}
    for node in ast.walk(ast.Module(tree.body, [])):
        if not isinstance(node, ast.Name) or node.id in locals_ or node.id == "xp":
            continue
        value = function.__globals__.get(node.id)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            constants[node.id] = value
        elif isinstance(value, types.FunctionType):
            if node.id not in functions:
                _collect(value, node.id, functions)
        else:
            raise RuleSourceError(
                f"{_where(function)} uses {node.id!r}; an update holds its arguments, numbers, "
                f"functions of its own module, operators and xp.sqrt/abs/maximum/minimum/where/sign"
            )
    tree = _Literals(constants).visit(tree)
    tree.name, tree.decorator_list, tree.returns = name, [], None
    for arg in tree.args.args:
        arg.annotation = None
    functions[name] = "@inline\n" + ast.unparse(ast.fix_missing_locations(tree))


def _parse(function: Update) -> ast.FunctionDef:
    try:
        text = textwrap.dedent(inspect.getsource(function))
    except (OSError, TypeError) as error:
        raise RuleSourceError(
            f"the source of {getattr(function, '__qualname__', function)!r} cannot be read; "
            f"define the rule in a file or a notebook cell, or use backend='reference'"
        ) from error
    tree = next((n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.FunctionDef)), None)
    if tree is None or inspect.getclosurevars(function).nonlocals:
        raise RuleSourceError(f"{_where(function)} must be a plain function without a closure")
    if ast.get_docstring(tree) is not None:
        tree.body = tree.body[1:]
    return tree


def _where(function: Update) -> str:
    code = function.__code__
    return f"{function.__qualname__} ({code.co_filename}:{code.co_firstlineno})"


class _Literals(ast.NodeTransformer):
    """Numbers to `real(number)`, but for whole exponents, which Numba multiplies out."""

    def __init__(self, constants: dict[str, float]) -> None:
        self.constants = constants

    def visit_Constant(self, node: ast.Constant) -> ast.expr:
        if isinstance(node.value, bool) or not isinstance(node.value, (int, float)):
            return node
        return ast.Call(ast.Name("real", ast.Load()), [node], [])

    def visit_Name(self, node: ast.Name) -> ast.expr:
        if node.id in self.constants:
            return self.visit_Constant(ast.Constant(self.constants[node.id]))
        return node

    def visit_BinOp(self, node: ast.BinOp) -> ast.expr:
        node.left = self.visit(node.left)
        whole = isinstance(node.right, ast.Constant) and isinstance(node.right.value, int)
        if not (isinstance(node.op, ast.Pow) and whole):
            node.right = self.visit(node.right)
        return node
