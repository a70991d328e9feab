"""Values as text for people, on a terminal and on a page; and characters that a stream lacks, in others."""

from __future__ import annotations

import codecs
import io
import math
import unicodedata
from typing import Any, TextIO

__all__ = ["encodable", "format_size", "format_value", "is_unicode", "never_fail"]

_HANDLER = "adamas"
# What the names and decompositions of Unicode do not say.
_ASCII = {
    "µ": "u",
    "×": "x",
    "√": "sqrt",
    "·": "*",
    "∞": "inf",
    "≤": "<=",
    "≪": "<<",
    "≥": ">=",
    "≈": "~",
    "±": "+-",
}
_ASCII |= {
    "−": "-",
    "–": "-",
    "—": "-",
    "─": "-",
    "━": "-",
    "│": "|",
    "‖": "|",
    "⁻": "-",
    "₋": "-",
    "→": "->",
    "←": "<-",
    "½": "1/2",
    "ß": "ss",
    "¼": "1/4",
    "∈": "in",
    "∝": "~",
    "λ": "lambda",
}
_ASCII |= {"∇": "grad ", "“": '"', "”": '"', "‘": "'", "’": "'", "•": "*", "●": "*", "█": "#", "≠": "!="}


def format_value(value: Any) -> str:
    """A value as people read it: numbers to four digits, an absent one as a dash."""
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def format_size(n: int) -> str:
    """Bytes with a unit, three digits at least."""
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if n >= size:
            return f"{n / size:,.{max(0, 2 - int(math.log10(n / size)))}f} {unit}"
    return f"{n} B"


def is_unicode(encoding: str | None) -> bool:
    """Whether an encoding has every character."""
    return (encoding or "").lower().replace("-", "").replace("_", "").startswith("utf")


def encodable(text: str, encoding: str) -> str:
    """`text` with those characters that `encoding` lacks spelled in ASCII, as "alpha" for "α"."""
    return text.encode(encoding, _HANDLER).decode(encoding)


def never_fail(*streams: TextIO | Any) -> None:
    """Have `streams` spell what their encoding lacks, as `encodable` does, in place of raising."""
    for stream in streams:
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_HANDLER)


def _spelled(character: str) -> str:
    if character in _ASCII:
        return _ASCII[character]
    plain = unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode()
    if plain:  # é, …, ²
        return plain
    if unicodedata.combining(character):
        return ""
    words = unicodedata.name(character, "?").split()
    if words[0] == "GREEK":
        return words[-1].capitalize() if character.isupper() else words[-1].lower()
    return {"BOX": "-", "BRAILLE": "*"}.get(words[0], "?")


def _substitute(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = unicodedata.normalize("NFD", error.object[error.start : error.end])
    return "".join(c if c.isascii() else _spelled(c) for c in text), error.end


codecs.register_error(_HANDLER, _substitute)
