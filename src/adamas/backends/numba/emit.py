"""The text of kernels: the loops, the envelope, and the formats around a rule's arithmetic.

Elementwise formats are decoded and encoded in the loop of the arithmetic; for scaled ones see `blocks`.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence

from ...formats import BLOCK, Format
from .._columns import COPY, names_of_columns, reads_of_columns, real_of, sizes
from .._draws import draws, in_blocks
from .._recipe import ENVELOPE
from .blocks import block_buffers, block_function, block_loop, hold, indented, joined
from .measure import PIECE, USED, Measuring
from .templates import CONVERT, FACTORS, FUNCTION, LOOP_OF_PAIRS, STEP, by_units

__all__ = ["apart", "emit_conversion", "emit_step", "head", "identifiers", "value_of"]


def emit_step(
    title: str,
    arithmetic: str,
    formats: Mapping[str, Format],
    average: bool,
    scalars: Sequence[str],
    stamp: str,
    gradual: Mapping[str, bool] | None = None,
    measured: str | None = None,
    factors: Sequence[str] = (),
) -> str:
    """The kernel of one rule.

    Args:
        title: the rule's name.
        arithmetic: the source of its `update`.
        formats: the format of each array: "p", "g", then the slots in order, and last that of `COPY`, if any.
        average: whether running averages of the parameters are kept, in the type of the computation.
        scalars: the names of the rule's scalars; a row has those of the envelope before them.
        stamp: what else the machine code depends on.
        gradual: whether each slot is signed, for rules whose state underflows gradually; see `_flushed`.
        measured: for a kernel that measures its step, the slot that is divided by, "" for none.
        factors: the names of what the rule makes of its sums, which each unit of them has for itself.
    """
    measuring = None
    if measured is not None:
        gradient = value_of("g", formats["g"], False)
        measuring = Measuring(formats, measured, gradient, in_blocks(formats))
    names, n = (*ENVELOPE, *scalars, *factors), len(factors)
    placeholders = [f"{k}_th" for k in range(len(names))]
    taken = identifiers(_step(title, "", formats, average, placeholders, stamp, gradual, measuring, n))
    s = apart(names, taken)
    return _step(title, arithmetic, formats, average, s, stamp, gradual, measuring, n)


def apart(names: Sequence[str], taken: set[str]) -> list[str]:
    """The names, or others like them where they are taken, each once."""
    found: list[str] = []
    for name in names:
        while name in taken or name in found:
            name += "_"
        found.append(name)
    return found


def identifiers(text: str) -> set[str]:
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
    measuring: Measuring | None,
    n_factors: int,
) -> str:
    """The kernel with these names for its scalars, and after them for its factors."""
    scaled = in_blocks(formats)
    arrays = sizes(formats, average)
    variables = names_of_columns(formats, average)
    body = _body(formats, average, s, gradual=gradual, measuring=measuring)
    read = "{}"
    function, buffers = "", []
    loop = ["counter = counter_at(key, start + shift)", "for k in range(start, stop):", *indented(body)]
    if scaled:
        held = [line.partition(" = ")[0] for line in block_buffers(formats, ())]
        arguments = ["key", *variables, *s, *held, *(measuring.arguments if measuring else ())]
        written = [name for name in arrays if name != "g"]
        around = (measuring.first, measuring.last) if measuring else ((), ())
        function = block_function(
            formats, written, body, arguments, draws(formats), gradual is not None, around
        )
        loop, buffers = block_loop(formats, arrays, written, arguments), block_buffers(formats, list(arrays))
    elif measuring is None and not average and _all_packed(formats):
        read = "short_nan({})"
        names = ", ".join([*variables, *s])
        function, loop = _pair(formats, names, s, gradual), LOOP_OF_PAIRS.format(names=names).splitlines()
    elif measuring is not None:
        loop = _in_pieces(loop, measuring)
    n_scalars, parts = len(s) - n_factors, head(formats, average)
    if n_factors:
        parts["accesses"] += "\n" + FACTORS.format(real=real_of(formats))
        loop = by_units(s[n_scalars:], loop, read)
    if measuring is not None:
        loop = [*measuring.of_chunk, *loop]
    values = [read.format(f"scalar_at(scalars, {n_scalars} * row + {k})") for k in range(n_scalars)]
    reads = [f"{name} = {value}" for name, value in zip(s, values, strict=False)]
    if measuring is not None:
        parts["imports"] = "\n".join([USED, parts["imports"]]).rstrip()
        parts["accesses"] = "\n".join([parts["accesses"], *measuring.head])
    text = STEP.format(
        title=f"{title} in {', '.join(dict.fromkeys(f.name for f in formats.values()))}",
        arrays=", ".join(formats),
        stamp=stamp,
        real=real_of(formats),
        **parts,
        arithmetic=arithmetic,
        function=function,
        buffers=joined(4, buffers),
        addresses=joined(8, reads_of_columns(variables)),
        scalars=joined(8, [*reads, f"{s[0]} = {s[0]} * grad_scale"]),
        loop=joined(8, loop),
    )
    return re.sub(r" +$", "", text, flags=re.MULTILINE)


def _in_pieces(loop: Sequence[str], measuring: Measuring) -> list[str]:
    """The loop over the elements of a chunk, piece by piece."""
    inner = [f"stop = min(end, start + {PIECE})", *measuring.first, *loop, *measuring.last, "start = stop"]
    return ["end = stop", "while start < end:", *indented(inner)]


def emit_conversion(source: Format, target: Format, stamp: str) -> str:
    """The kernel that reads an array "g" in one format and writes "x" in another, one of them scaled.

    Values are rounded to nearest: a constant just below one half stands for the random bits.
    """
    formats = {"g": source, "x": target}
    variables = names_of_columns(formats, False)
    body = [f"new_x = {value_of('g', source, False)}"]
    random = dict.fromkeys(formats, "numpy.uint32(0x7FFFFFFF)")
    if target.scaled:
        body += hold("x", target)
    else:
        body.append(_store("x", target, "new_x", random["x"]))
    held = [line.partition(" = ")[0] for line in block_buffers(formats, ())]
    arguments = ["key", *variables, *held]
    text = CONVERT.format(
        title=f"{source.name} to {target.name}",
        stamp=stamp,
        **head(formats, False),
        function=block_function(formats, ["x"], body, arguments, random),
        buffers=joined(4, block_buffers(formats, list(formats))),
        addresses=joined(8, ["key = tile_key(0, 0)", *reads_of_columns(variables)]),
        loop=joined(8, block_loop(formats, sizes(formats, False), ["x"], arguments)),
    )
    return re.sub(r" +$", "", text, flags=re.MULTILINE)


def _body(
    formats: Mapping[str, Format],
    average: bool,
    s: list[str],
    packed: bool = False,
    gradual: Mapping[str, bool] | None = None,
    measuring: Measuring | None = None,
) -> list[str]:
    """One element: decode, envelope, rule, encode."""
    slots = [name for name in formats if name not in ("p", "g", COPY)]
    scale, decay, factor, weight, *scalars = s
    random = draws(formats)
    values = [value_of(name, formats[name], packed) for name in slots]
    results = ", ".join(["p", *(f"new_{name}" for name in slots)]) + ("" if slots else ",")
    blocks = in_blocks(formats)
    lines = [
        "bits = scattered(block_key, k - first)" if blocks else "bits = mixed(counter, key)",
        f"p = {value_of('p', formats['p'], packed)}",
        f"pull = where({decay} != 0, {decay} * p, real(0))",
        # Where a sum has two products, which one is contracted would be chance.
        f"g = fused({scale}, {value_of('g', formats['g'], packed)}, pull)",
        f"{results} = update({', '.join([f'{factor} * p', 'g', *values, *scalars])})",
    ]
    if measuring is not None:
        lines[2:2] = ["old_p = p", f"raw_g = {value_of('g', formats['g'], packed)}"]
    if gradual is not None:
        faded = [f"below_normal(new_{name})" for name in slots if gradual[name]]
        lines += ["silent = below_normal(g)", f"faded = {' & '.join(['silent', *faded])}"]
    copied = [(COPY, "p")] if COPY in formats else []
    for name, value in [("p", "p"), *copied, *((name, _flushed(name, gradual)) for name in slots)]:
        format = formats[name]
        if format.scaled:
            lines += hold(name, format)
            continue
        if format.largest is not None and name not in ("p", COPY):
            # Infinity would never come back: a second moment would stop its parameter for ever.
            value = f"saturated({value}, real({format.largest!r}))"
        lines.append(_store(name, format, value, random[name], packed))
    if measuring is not None:  # the parameter as it is stored
        lines += [f"stored_p = {value_of('p', formats['p'], packed)}", *measuring.each]
    if average:
        lines += [
            "mean = load_average(at_average, k)",
            f"store_average(at_average, k, mean + {weight} * (p - mean))",
        ]
    return lines if blocks else [*lines, "counter = next_counter(counter)"]


def _store(name: str, format: Format, value: str, random: str, packed: bool = False) -> str:
    """Store the new element k of an array that is not scaled."""
    code = f"numpy.{format.stored.name}({value})"
    if format.encode is not None:
        code = f"encode_{'pair_' if packed else ''}{name}({value}, {random})"
    if packed:
        return f"new_word_{name} = with_half(new_word_{name}, half, {code})"
    return f"store_{name}(at_{name}, k, {code})"


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
        *indented(_body(formats, False, s, packed=True, gradual=gradual)),
        "if whole:",
    ]
    lines += [f"    store_pair_{name}(at_{name}, k, new_word_{name})" for name in changed]
    lines += ["else:", *(f"    store_{name}(at_{name}, k, half_of(new_word_{name}, 0))" for name in changed)]
    return FUNCTION.format(name="pair", names=f"k, whole, counter, key, {names}", lines=joined(4, lines))


def value_of(name: str, format: Format, packed: bool, index: str = "k") -> str:
    """The decoded element k of an array."""
    code = f"half_of(word_{name}, half)" if packed else f"load_{name}(at_{name}, {index})"
    if format.packs > 1:
        code = f"load_codes_{name}(codes_{name}, k - first)"
    if format.scaled:
        return f"decode_{name}({code}, scale_{name})"
    return f"real({code})" if format.decode is None else f"decode_{name}({code})"


def head(formats: Mapping[str, Format], average: bool) -> dict[str, str]:
    """The imports and the typed accesses of a kernel's arrays."""
    imports, stored = [], {name: f"numba.{format.stored.name}" for name, format in formats.items()}
    real = f"numba.{real_of(formats)}"
    if average:
        stored["average"] = real
    scratches = []
    if any(format.scaled for format in formats.values()):
        scratches += [f"scratch_pad_{name} = scratch({BLOCK}, {type_})" for name, type_ in stored.items()]
    for name, format in formats.items():
        if format.decode is not None and format.encode is not None:
            module = format.decode.__module__
            imports += [f"import {module}"]
            for part in ("decode", "encode"):
                scratches += [f"{part}_{name} = bind({module}.{getattr(format, part).__name__})"]
        if format.scaled:
            stored |= {f"buffer_{name}": real, f"scales_{name}": real}
            scratches += [f"scratch_{name} = scratch({BLOCK}, {real})"]
        if format.packs > 1:
            stored |= {f"codes_{name}": "numba.uint8"}
            scratches += [f"scratch_codes_{name} = scratch({BLOCK}, numba.uint8)"]
    arrays = " ".join(stored)
    accesses = [
        f'load_{name}, store_{name} = access("{name}", "{arrays}", {type_})' for name, type_ in stored.items()
    ]
    for name, format in formats.items():
        if format.packed16 is not None:
            packed = format.packed16
            accesses += [
                f"encode_pair_{name} = bind({packed.__module__}.{packed.__name__})",
                f'load_pair_{name}, store_pair_{name} = access("{name}", "{arrays}", numba.uint32, 2)',
            ]
        if format.packs > 1:
            two = f'access("codes_{name}", "{arrays}", numba.uint16)'
            accesses.append(f"load_two_codes_{name}, store_two_codes_{name} = {two}")
    return {"imports": "\n".join(sorted(set(imports))), "accesses": "\n".join(accesses + scratches)}
