"""Quotients from an estimate of 14 bits and one step of Newton's iteration, for 8-bit and 4-bit state.

A CPU divides and takes roots in one unit, busy for about 22 cycles with a quotient and a root of 16 floats:
as long as all else that such a kernel does with them. The root stays there, exact and beside the rest; its
estimate would need more instructions than it saves time. The rounding of the state is thousands of times
coarser than an error of the last bit here.

A quotient is within one unit in the last place of the exact one, for dividends from 2^-120 and divisors from
2^-126 to 2^126, and infinity, NaN and zero come out as they do exactly, but for the sign of a zero: where the
step would make NaN of an infinite or zero estimate, the estimate stays. Divisors below 2^-128 have an
infinite reciprocal: only rules with an ε far above that, in what they divide by, are approximated.

CPUs of two vendors may estimate differently in the last bits, so their results may differ. On one CPU all
elements get the same: scaled state is computed in blocks of one size, so that no element falls in the rest
of a loop, where a scalar would be divided exactly. Kernels of other state, which have such a rest, and CPUs
without the estimate divide exactly everywhere.
"""

from __future__ import annotations

import ast
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from .machine import vectors

__all__ = ["approximated", "over"]


class _Approximated(ast.NodeTransformer):
    """Every quotient to `xp.over`, but for those by a constant."""

    def visit_BinOp(self, node: ast.BinOp) -> ast.expr:
        self.generic_visit(node)
        constant = isinstance(node.right, ast.Call) and getattr(node.right.func, "id", "") == "real"
        if not isinstance(node.op, ast.Div) or constant:
            return node
        # In the namespace of kernels, since a rule may have a variable of any name.
        over = ast.Attribute(ast.Name("xp", ast.Load()), "over", ast.Load())
        return ast.Call(over, [node.left, node.right], [])


def approximated(arithmetic: str) -> str:
    """The text of a rule's arithmetic in float32 with its quotients approximated."""
    tree = _Approximated().visit(ast.parse(arithmetic))
    return "\n\n\n".join(ast.unparse(ast.fix_missing_locations(part)) for part in tree.body)


@intrinsic
def over(typing_context: Any, x: Any, y: Any) -> Any:
    """x / y in float32: the quotient by the estimate, and what is left, by the estimate again."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        x, y = args
        if vectors().reciprocal is None:
            return builder.fdiv(x, y)
        # LLVM takes its estimate only where infinities do not matter (`ninf`): its own step breaks them.
        reciprocal = builder.fdiv(ir.Constant(ir.FloatType(), 1.0), y, flags=("arcp", "ninf"))
        quotient = builder.fmul(x, reciprocal)
        left = builder.fma(builder.fneg(y), quotient, x)
        refined = builder.fma(left, reciprocal, quotient)
        return builder.select(builder.fcmp_ordered("ord", refined, refined), refined, quotient)

    return types.float32(types.float32, types.float32), generate
