"""From a rule's `update` to its kernel's arithmetic: the rule's own source, for one compute type."""

from __future__ import annotations

import ast
import inspect
import numbers
import textwrap
import types

from ...rules._base import Update

__all__ = ["RuleSourceError", "arithmetic"]


# What `xp` has in every namespace.
_FUNCTIONS = ("sqrt", "abs", "maximum", "minimum", "where", "sign")


class RuleSourceError(ValueError):
    """An `update` that cannot become a kernel; the message says what in it stands in the way."""


def arithmetic(update: Update) -> str:
    """The source of `update`, renamed so, and of the functions it calls, for a compute type called `real`.

    Literals and module constants become `real(...)`: a plain Python number would widen a float32
    kernel to float64. Functions are numbered: two modules may have one of the same name, and so
    may the kernel.

    Raises:
        RuleSourceError: the source cannot be read, or it uses something a kernel does not have.
    """
    texts: list[str] = []
    _collect(update, {update: "update"}, texts)
    return "\n\n\n".join(texts)


def _collect(function: Update, names: dict[Update, str], texts: list[str]) -> None:
    """Append the text of `function`, after those of the functions it calls; `names` has their new names."""
    tree = _parse(function)
    args = [*tree.args.posonlyargs, *tree.args.args]
    if tree.args.kwonlyargs or tree.args.vararg or tree.args.kwarg:
        raise RuleSourceError(f"{_where(function)}: a kernel's functions take positional arguments alone")
    locals_ = {arg.arg for arg in args} | {
        node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    }
    if "real" in locals_:
        raise RuleSourceError(f"{_where(function)}: 'real' is the kernel's own name, rename the variable")
    assert isinstance(function, types.FunctionType)
    meanings: dict[str, ast.expr] = {}
    for node in ast.walk(ast.Module(tree.body, [])):
        if isinstance(node, ast.Attribute) and node.attr not in _FUNCTIONS:
            raise _foreign(function, ast.unparse(node))
        if not isinstance(node, ast.Name) or node.id in locals_ or node.id == "xp":
            continue
        value = function.__globals__.get(node.id)
        if not isinstance(value, bool) and isinstance(value, numbers.Real):
            meanings[node.id] = _real(float(value))
        elif isinstance(value, types.FunctionType):
            if value not in names:
                names[value] = f"{node.id}_{len(names)}"
                _collect(value, names, texts)
            meanings[node.id] = ast.Name(names[value], ast.Load())
        else:
            raise _foreign(function, node.id)
    tree = _Meanings(meanings).visit(tree)
    tree.name, tree.decorator_list, tree.returns = names[function], [], None
    for arg in args:
        arg.annotation = None
    texts.append("@inline\n" + ast.unparse(ast.fix_missing_locations(tree)))


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


def _foreign(function: Update, name: str) -> RuleSourceError:
    return RuleSourceError(
        f"{_where(function)} uses {name!r}; an update holds its arguments, numbers, functions of its "
        f"own module, operators and xp.{'/'.join(_FUNCTIONS)}"
    )


def _where(function: Update) -> str:
    code = function.__code__
    return f"{function.__qualname__} ({code.co_filename}:{code.co_firstlineno})"


def _real(number: float) -> ast.expr:
    return ast.Call(ast.Name("real", ast.Load()), [ast.Constant(number)], [])


class _Meanings(ast.NodeTransformer):
    """Global names to what they stand for, and numbers to `real(number)`.

    But for whole exponents, which Numba multiplies out.
    """

    def __init__(self, meanings: dict[str, ast.expr]) -> None:
        self.meanings = meanings

    def visit_Constant(self, node: ast.Constant) -> ast.expr:
        if isinstance(node.value, bool) or not isinstance(node.value, (int, float)):
            return node
        return _real(node.value)

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return self.meanings.get(node.id, node)

    def visit_BinOp(self, node: ast.BinOp) -> ast.expr:
        node.left = self.visit(node.left)
        whole = isinstance(node.right, ast.Constant) and isinstance(node.right.value, int)
        if not (isinstance(node.op, ast.Pow) and whole):
            node.right = self.visit(node.right)
        return node
