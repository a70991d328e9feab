"""The text of kernels: the loops, the envelope, and the formats around a rule's arithmetic.

Elementwise formats are decoded and encoded in the loop of the arithmetic. A scaled format needs the
largest magnitude of a block before it can encode, so it has loops of its own over a block in a buffer. They
are short, touch few arrays and have a constant trip count, so that each becomes vectors.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from itertools import cycle

from ...formats import BLOCK, Format
from .randomness import MULTIPLIERS
from .templates import FUNCTION, LOOP_OF_BLOCKS, LOOP_OF_PAIRS, NORM, STEP

__all__ = ["ENVELOPE", "emit_norm", "emit_step"]

# A row of scalars begins with the envelope, in this order.
ENVELOPE = ("g_scale", "coupled_decay", "decay_factor", "average_weight")


def emit_step(
    title: str,
    arithmetic: str,
    formats: Mapping[str, Format],
    average: bool,
    scalars: Sequence[str],
    stamp: str,
    gradual: Mapping[str, bool] | None = None,
) -> str:
    """The kernel of one rule.

    Args:
        title: the rule's name.
        arithmetic: the source of its `update`.
        formats: the format of each array: "p", "g", then the slots in order.
        average: whether running averages of the parameters are kept, in the type of the computation.
        scalars: the names of the rule's scalars; a row has those of the envelope before them.
        stamp: what else the machine code depends on.
        gradual: whether each slot is signed, for rules whose state underflows gradually; see `_flushed`.
    """
    placeholders = [f"{k}_th" for k in range(len(ENVELOPE) + len(scalars))]
    taken = _identifiers(_step(title, "", formats, average, placeholders, stamp, gradual))
    s: list[str] = []
    for name in (*ENVELOPE, *scalars):
        while name in taken or name in s:
            name += "_"
        s.append(name)
    return _step(title, arithmetic, formats, average, s, stamp, gradual)


def _identifiers(text: str) -> set[str]:
    """The names in a kernel, but for that of its function, which it does not call."""
    return set(re.findall(r"\b[A-Za-z_]\w*", text)) - {"step"}


def _step(
    title: str,
    arithmetic: str,
    formats: Mapping[str, Format],
    average: bool,
    s: list[str],
    stamp: str,
    gradual: Mapping[str, bool] | None,
) -> str:
    """The kernel with these names for its scalars."""
    scaled = [name for name in formats if formats[name].scaled]
    at = [f"at_{name}" for name in [*formats, *(["average"] if average else [])]]
    buffers = [f"{kind}_{name}" for name in scaled for kind in ("buffer", "scales")]
    names = ", ".join([*at, *s, *buffers])
    body = _body(formats, average, s, gradual=gradual)
    scalar = "scalar_at(scalars, {} * row + {})"
    function, loop = "", ["counter = counter_at(key, start)", "for k in range(start, stop):", *_indent(body)]
    if scaled:
        function, loop = _block(formats, names, body), LOOP_OF_BLOCKS.format(names=names).splitlines()
    elif not average and _all_packed(formats):
        scalar = f"short_nan({scalar})"
        function, loop = _pair(formats, names, s, gradual), LOOP_OF_PAIRS.format(names=names).splitlines()
    addresses = [f"{name} = int_at(table, {len(at)} * tensor + {k})" for k, name in enumerate(at)]
    addresses += [
        f"scales_{name} = at_{name} + (({formats[name].stored.itemsize} * size + 3) & ~3)" for name in scaled
    ]
    reads = [f"{name} = {scalar.format(len(s), k)}" for k, name in enumerate(s)]
    text = STEP.format(
        title=f"{title} in {', '.join(dict.fromkeys(f.name for f in formats.values()))}",
        arrays=", ".join(formats),
        stamp=stamp,
        real=_real(formats),
        **_head(formats, average),
        arithmetic=arithmetic,
        function=function,
        buffers=_join(4, [f"buffer_{name} = scratch_{name}()" for name in scaled]),
        addresses=_join(8, addresses),
        scalars=_join(8, [*reads, f"{s[0]} = {s[0]} * grad_scale"]),
        loop=_join(8, loop),
    )
    return re.sub(r" +$", "", text, flags=re.MULTILINE)


def emit_norm(format: Format, stamp: str) -> str:
    """The kernel that sums squares of gradients; the scalars of its job are the sums, a float64 a tile."""
    formats = {"g": format}
    return NORM.format(
        stamp=stamp, real=_real(formats), g=_value("g", format, False), **_head(formats, False)
    )


def _body(
    formats: Mapping[str, Format],
    average: bool,
    s: list[str],
    packed: bool = False,
    gradual: Mapping[str, bool] | None = None,
) -> list[str]:
    """One element: decode, envelope, rule, encode."""
    slots = [name for name in formats if name not in ("p", "g")]
    scale, decay, factor, weight, *scalars = s
    random = _random(formats)
    values = [_value(name, formats[name], packed) for name in slots]
    results = ", ".join(["p", *(f"new_{name}" for name in slots)]) + ("" if slots else ",")
    lines = [
        "bits = mixed(counter, key)",
        f"p = {_value('p', formats['p'], packed)}",
        f"g = {scale} * {_value('g', formats['g'], packed)} + where({decay} != 0, {decay} * p, real(0))",
        f"{results} = update({', '.join([f'{factor} * p', 'g', *values, *scalars])})",
    ]
    if gradual is not None:
        faded = [f"below_normal(new_{name})" for name in slots if gradual[name]]
        lines += ["silent = below_normal(g)", f"faded = {' & '.join(['silent', *faded])}"]
    for name, value in [("p", "p"), *((name, _flushed(name, gradual)) for name in slots)]:
        format = formats[name]
        if format.scaled:
            # Compare bits: their maximum is that of magnitudes, keeps a NaN, and becomes vectors.
            magnitude = f"xp.bits(new_{name})" + (" & numpy.uint32(0x7FFFFFFF)" if format.signed else "")
            lines += [
                f"store_buffer_{name}(buffer_{name}, k - first, new_{name})",
                f"top_{name} = max(top_{name}, numpy.uint32({magnitude}))",
            ]
            continue
        code = f"numpy.{format.stored.name}({value})"
        if format.encode is not None:
            code = f"encode_{'pair_' if packed else ''}{name}({value}, {random[name]})"
        if packed:
            lines.append(f"new_word_{name} = with_half(new_word_{name}, half, {code})")
        else:
            lines.append(f"store_{name}(at_{name}, k, {code})")
    if average:
        lines += [
            "mean = load_average(at_average, k)",
            f"store_average(at_average, k, mean + {weight} * (p - mean))",
        ]
    return [*lines, "counter = next_counter(counter)"]


def _flushed(name: str, gradual: Mapping[str, bool] | None) -> str:
    """The new value of a slot without subnormal numbers, at which decay stops and arithmetic is slow.

    Where ε hides the root of every subnormal number, they become zero. Where it does not (`gradual`), a
    second moment may grow through them, and dividing by ε instead would make steps far too long. They
    then stay until the gradient is zero or subnormal itself. From there a signed slot becomes zero, and once
    all signed slots are, a positive slot becomes the smallest normal number: 0 over 0 would be NaN.
    """
    if gradual is None:
        return f"flush(new_{name}, real(0))"
    if gradual[name]:
        return f"where(silent & below_normal(new_{name}), real(0), new_{name})"
    return f"where(faded & below_normal(new_{name}), where(new_{name} > real(0), tiny, real(0)), new_{name})"


def _block(formats: Mapping[str, Format], names: str, body: list[str]) -> str:
    """The function that updates `count` elements that share their scales.

    It has two loops because the largest magnitude is known only after the arithmetic. Both have a
    constant trip count, so that they become vectors without a remainder.
    """
    scaled, random = [name for name in formats if formats[name].scaled], _random(formats)
    lines = [f"scale_{name} = load_scales_{name}(scales_{name}, first // {BLOCK})" for name in scaled]
    lines += [f"top_{name} = numpy.uint32(0)" for name in scaled]
    lines += ["counter = counter_at(key, first)", "for k in range(first, first + count):", *_indent(body)]
    for name in scaled:
        lines += [
            f"scale = xp.maximum(xp.from_bits(top_{name}) * real({formats[name].scale_factor!r}), tiny)",
            f"store_scales_{name}(scales_{name}, first // {BLOCK}, scale)",
            # Flush subnormals first: mean-preserving rounding would keep them alive for ever.
            "if scale < subnormal_scale:",
            "    for j in range(count):",
            f"        x = load_buffer_{name}(buffer_{name}, j)",
            f"        store_buffer_{name}(buffer_{name}, j, where(abs(x) < tiny + tiny, real(0), x))",
            f"inverse_{name} = real(1) / scale",
        ]
    for name in scaled:
        lines += [
            "counter = counter_at(key, first)",
            "for j in range(count):",
            "    bits = mixed(counter, key)",
            f"    x = load_buffer_{name}(buffer_{name}, j) * inverse_{name}",
            f"    store_{name}(at_{name}, first + j, encode_{name}(x, {random[name]}))",
            "    counter = next_counter(counter)",
        ]
    return FUNCTION.format(name="block", names=f"first, count, key, {names}", lines=_join(4, lines))


def _all_packed(formats: Mapping[str, Format]) -> bool:
    """Whether to read two elements as one word, the first in its lower half."""
    return sys.byteorder == "little" and all(format.packed16 is not None for format in formats.values())


def _pair(formats: Mapping[str, Format], names: str, s: list[str], gradual: Mapping[str, bool] | None) -> str:
    """The function that updates two elements of a word of 32 bits, or one element where not `whole`."""
    lines = [
        f"word_{name} = load_pair_{name}(at_{name}, k) if whole else numpy.uint32(load_{name}(at_{name}, k))"
        for name in formats
    ]
    changed = [name for name in formats if name != "g"]
    lines += [f"new_word_{name} = numpy.uint32(0)" for name in changed]
    lines += [
        "for half in range(2):",
        *_indent(_body(formats, False, s, packed=True, gradual=gradual)),
        "if whole:",
    ]
    lines += [f"    store_pair_{name}(at_{name}, k, new_word_{name})" for name in changed]
    lines += ["else:", *(f"    store_{name}(at_{name}, k, half_of(new_word_{name}, 0))" for name in changed)]
    return FUNCTION.format(name="pair", names=f"k, whole, counter, key, {names}", lines=_join(4, lines))


def _random(formats: Mapping[str, Format]) -> dict[str, str]:
    """The random bits of each stored array of an element."""
    rounded = [name for name, format in formats.items() if format.rounds and name != "g"]
    multipliers = dict(zip(rounded, cycle(MULTIPLIERS), strict=False))
    return {
        name: f"draw(bits, numpy.uint32(0x{multipliers[name]:X}))" if name in multipliers else "bits"
        for name in formats
    }


def _value(name: str, format: Format, packed: bool) -> str:
    """The decoded element k of an array."""
    code = f"half_of(word_{name}, half)" if packed else f"load_{name}(at_{name}, k)"
    value = f"real({code})" if format.decode is None else f"decode_{name}({code})"
    return f"{value} * scale_{name}" if format.scaled else value


def _head(formats: Mapping[str, Format], average: bool) -> dict[str, str]:
    """The imports and the typed accesses of a kernel's arrays."""
    imports, stored = [], {name: f"numba.{format.stored.name}" for name, format in formats.items()}
    real = f"numba.{_real(formats)}"
    if average:
        stored["average"] = real
    scratches = []
    for name, format in formats.items():
        if format.decode is not None and format.encode is not None:
            module = format.decode.__module__
            imports += [f"import {module}"]
            for part in ("decode", "encode"):
                scratches += [f"{part}_{name} = bind({module}.{getattr(format, part).__name__})"]
        if format.scaled:
            stored |= {f"buffer_{name}": real, f"scales_{name}": real}
            scratches += [f"scratch_{name} = scratch({BLOCK}, {real})"]
    arrays = " ".join(stored)
    accesses = [
        f'load_{name}, store_{name} = access("{name}", "{arrays}", {type_})' for name, type_ in stored.items()
    ]
    accesses += [
        f"encode_pair_{name} = bind({format.packed16.__module__}.{format.packed16.__name__})\n"
        f'load_pair_{name}, store_pair_{name} = access("{name}", "{arrays}", numba.uint32, 2)'
        for name, format in formats.items()
        if format.packed16 is not None
    ]
    return {"imports": "\n".join(sorted(set(imports))), "accesses": "\n".join(accesses + scratches)}


def _real(formats: Mapping[str, Format]) -> str:
    """The type of the computation: float64 where any format computes in it."""
    return max(format.compute.name for format in formats.values())


def _indent(lines: Iterable[str]) -> list[str]:
    return ["    " + line for line in lines]


def _join(indent: int, lines: Iterable[str]) -> str:
    return ("\n" + " " * indent).join(lines)
