"""The `atan2` of kernels: a quotient and a polynomial, without branches and calls: it becomes vectors."""

from __future__ import annotations

import math
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from .._arctangent import ARCTANGENT

__all__ = ["atan2"]


@intrinsic
def atan2(typing_context: Any, y: Any, x: Any) -> Any:
    """The angle of the point (x, y), of two numbers of one type, within 2 units in the last place.

    Signed zeros, infinities and NaN are those of C's `atan2`.
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _Angle(builder, context.get_data_type(x), x.bitwidth).of(*args)

    return (x(y, x), generate) if x == y and isinstance(x, types.Float) else None


class _Angle:
    """The instructions, for numbers of one width."""

    def __init__(self, builder: Any, real: Any, width: int) -> None:
        self.builder, self.real, self.width = builder, real, width
        self.word = ir.IntType(width)
        self.sign = ir.Constant(self.word, 1 << (width - 1))

    def of(self, y: Any, x: Any) -> Any:
        """The angle of the point (x, y)."""
        build, number, select = self.builder, self.number, self.builder.select
        y_sign, x_sign = (build.and_(self.bits(each), self.sign) for each in (y, x))
        tall, wide = self.with_bits(build.xor, y, y_sign), self.with_bits(build.xor, x, x_sign)
        steep = build.fcmp_ordered(">", tall, wide)
        low, high = select(steep, wide, tall), select(steep, tall, wide)
        # 0 / 0 and ∞ / ∞ would be NaN.
        same = select(build.fcmp_ordered("==", low, number(0.0)), number(0.0), number(1.0))
        ratio = select(build.fcmp_ordered("==", low, high), same, build.fdiv(low, high))
        square = build.fmul(ratio, ratio)
        angle = build.fadd(ratio, build.fmul(ratio, build.fmul(square, self.series(square))))
        turned = select(steep, self.sign, ir.Constant(self.word, 0))
        angle = self.with_bits(build.xor, angle, build.xor(turned, x_sign))
        flat = select(build.icmp_unsigned("==", x_sign, self.sign), number(math.pi), number(0.0))
        angle = build.fadd(select(steep, number(math.pi / 2), flat), angle)
        angle = self.with_bits(build.or_, angle, y_sign)
        return select(build.fcmp_unordered("uno", x, y), build.fadd(x, y), angle)

    def series(self, x: Any) -> Any:
        """The polynomial of `ARCTANGENT`."""
        first, *rest = map(self.number, ARCTANGENT[self.width])
        for coefficient in rest:
            first = self.builder.fadd(self.builder.fmul(first, x), coefficient)
        return first

    def number(self, value: float) -> Any:
        return ir.Constant(self.real, value)

    def bits(self, x: Any) -> Any:
        return self.builder.bitcast(x, self.word)

    def with_bits(self, operation: Any, x: Any, bits: Any) -> Any:
        """A number whose bits an operation has changed."""
        return self.builder.bitcast(operation(self.bits(x), bits), self.real)
