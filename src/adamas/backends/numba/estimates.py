"""Quotients and roots from an estimate of 14 bits and one step of Newton's iteration, for low-bit state.

Exact division and root have one unit, busy for 22 cycles for a quotient and a root of 16 floats. The noise
of rounding to 8 or 4 bits is thousands of times larger than an error of the last bit here.
Both are within one unit in the last place of the exact result, which is tested over all exponents, and
infinity, NaN and zero come out as they do exactly: where the refinement would be NaN, the estimate stays.

CPUs of two vendors may estimate differently in the last bits, so their results may differ. On one CPU all
elements get the same: scaled state is computed in blocks of one size, so that no element falls in the rest
of a loop, where a scalar would be divided exactly. Kernels of other state, which have such a rest, and CPUs
without the estimates divide exactly everywhere.
"""

from __future__ import annotations

import ast
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from .vectors import vectors

__all__ = ["approximated", "over", "root"]

_FLOAT = ir.FloatType()
_ONE, _HALF = ir.Constant(_FLOAT, 1.0), ir.Constant(_FLOAT, 0.5)


# In the namespace of kernels, since a rule may have a variable of any name.
_OVER = ast.Attribute(ast.Name("xp", ast.Load()), "over", ast.Load())


class _Approximated(ast.NodeTransformer):
    """Every quotient to `over` and every square root to `root`."""

    def visit_BinOp(self, node: ast.BinOp) -> ast.expr:
        self.generic_visit(node)
        if not isinstance(node.op, ast.Div):
            return node
        return ast.Call(_OVER, [node.left, node.right], [])

    def visit_Call(self, node: ast.Call) -> ast.expr:
        self.generic_visit(node)
        if isinstance(node.func, ast.Attribute) and node.func.attr == "sqrt":
            node.func.attr = "root"
        return node


def approximated(arithmetic: str) -> str:
    """The text of a rule's arithmetic in float32 with its quotients and square roots approximated."""
    tree = _Approximated().visit(ast.parse(arithmetic))
    return "\n\n\n".join(ast.unparse(ast.fix_missing_locations(part)) for part in tree.body)


def _estimate_of_reciprocal(builder: Any, x: Any) -> Any:
    # LLVM takes its estimate only where infinities do not matter (`ninf`), since its refinement breaks them.
    return builder.fdiv(_ONE, x, flags=("arcp", "ninf"))


def _estimate_of_reciprocal_root(builder: Any, x: Any) -> Any:
    sqrt = builder.module.declare_intrinsic("llvm.sqrt", [_FLOAT])
    exact = builder.call(sqrt, [x], fastmath=("afn", "arcp", "nsz"))
    return builder.fdiv(_ONE, exact, flags=("afn", "arcp", "nsz"))


def _is_zero_or_infinity(builder: Any, x: Any) -> Any:
    word = ir.IntType(32)
    bits = builder.bitcast(x, word)
    infinite = builder.icmp_unsigned("==", bits, ir.Constant(word, 0x7F800000))
    return builder.or_(infinite, builder.fcmp_ordered("==", x, ir.Constant(_FLOAT, 0.0)))


@intrinsic
def over(typing_context: Any, x: Any, y: Any) -> Any:
    """x / y in float32: the quotient by the estimate, and what is left, by the estimate again."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        x, y = args
        if vectors().reciprocal is None:
            return builder.fdiv(x, y)
        reciprocal = _estimate_of_reciprocal(builder, y)
        quotient = builder.fmul(x, reciprocal)
        left = builder.fma(builder.fneg(y), quotient, x)
        refined = builder.fma(left, reciprocal, quotient)
        return builder.select(builder.fcmp_ordered("ord", left, left), refined, quotient)

    return types.float32(types.float32, types.float32), generate


@intrinsic
def root(typing_context: Any, x: Any) -> Any:
    """√x in float32, as x / √x by the estimate of 1 / √x, and one step."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        (x,) = args
        if vectors().root is None:
            return builder.call(builder.module.declare_intrinsic("llvm.sqrt", [_FLOAT]), [x])
        reciprocal = _estimate_of_reciprocal_root(builder, x)
        guess = builder.fmul(x, reciprocal)
        left = builder.fma(builder.fneg(guess), reciprocal, _ONE)
        refined = builder.fma(left, builder.fmul(guess, _HALF), guess)
        return builder.select(_is_zero_or_infinity(builder, x), x, refined)

    return types.float32(types.float32), generate
