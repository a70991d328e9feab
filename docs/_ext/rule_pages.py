"""The page of a rule: formula, source, paper, path, kernels, all of them from the rule itself."""

from __future__ import annotations

import dataclasses
import inspect
import itertools
import sys
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from formula import formula_of
from kernels import numba_text, triton_text
from paths import STEPS, draw_path

from adamas.rules import Rule

__all__ = ["rule_index", "rule_page"]

# Values of a number that a rule may branch on.
_ANCHORS = (0.0, 0.5)


def rule_page(cls: type[Rule], figures: Path) -> str:
    """The page of one rule as reStructuredText; its figure is written into a folder."""
    name = cls.__name__
    rule = cls()
    paper = (inspect.getdoc(sys.modules[cls.__module__]) or "").strip()
    lr, cost = draw_path(rule, figures / f"rule-{name.lower()}.svg")
    parts = [
        f"{name}\n{'=' * len(name)}\n",
        paper + "\n",
        _heading("Formula and source"),
        "Made by running the source on symbols; θ is the parameter, g its gradient, t the step.\n",
        ".. container:: two-columns\n",
        _indented(".. container:: formula\n\n" + _indented(_math(formula_of(rule)))),
        _indented(_code(sources(rule))),
        _others(rule),
        _heading("Hyperparameters"),
        f".. autoclass:: adamas.rules.{name}\n",
        _heading("Path"),
        f"{STEPS} steps on (x² + 20 y²) / 2 in float64, by the reference, at the best of 15 stepsizes.\n",
        f".. image:: /figures/rule-{name.lower()}.svg\n   :alt: {STEPS} steps of {name} with stepsize {lr:g}"
        f"; the cost at the end is {cost:.2g}\n",
        _heading("Kernel"),
        "The loop that Numba compiles for CPUs, float32. :doc:`/explain/generator` reads one line by line.\n",
        _folded(f"{name} for CPUs (Numba)", numba_text(rule)),
    ]
    if (text := triton_text(rule)) is not None:
        parts.append(_folded(f"{name} for GPUs (Triton)", text))
    elif (sums := rule.form().reduction) is not None and sums.scope == "row":
        parts.append(
            "No kernel of Triton sums over rows yet: on a GPU a step is arithmetic on whole tensors.\n"
        )
    return "\n".join(parts)


def rule_index(rules: Mapping[str, type[Rule]]) -> str:
    """The list of all rules, by what their docstrings begin with."""
    rows = []
    for name, cls in sorted(rules.items(), key=lambda item: item[0].lower()):
        summary = " ".join((inspect.getdoc(cls) or "").split("\n\n")[0].split())
        stored = ", ".join(f"`{slot}`" for slot in cls().form().slots) or "nothing"
        rows.append(f"   * - :doc:`{name} <{name.lower()}>`\n     - {summary}\n     - {stored}")
    pages = "\n".join(f"   {name.lower()}" for name in sorted(rules, key=str.lower))
    return (
        "Rules\n=====\n\nEach is one file of `src/adamas/rules/`; these pages are made from it.\n\n"
        ".. list-table::\n   :header-rows: 1\n   :widths: 15 65 20\n\n"
        "   * - rule\n     - what it does\n     - state\n" + "\n".join(rows) + "\n\n"
        f".. toctree::\n   :hidden:\n\n{pages}\n"
    )


def sources(rule: Rule) -> str:
    """The text of what the formula was made from: scalars, what they are carried from, sums, the update."""
    cls, form = type(rule), rule.form()
    sums = form.reduction
    functions: list[Any] = [
        *([cls.carry] if cls.carried else []),
        cls.scalars,
        *([] if sums is None else [sums.measure, sums.factors]),
        form.update,
    ]
    return "\n\n".join(textwrap.dedent(inspect.getsource(each)).strip() for each in functions)


def variants(rule: Rule) -> Iterator[tuple[str, Rule]]:
    """The same rule with other options, one for each formula that differs from those before it."""
    known = {formula_of(rule)}
    for changes in _options(rule):
        try:
            other = dataclasses.replace(rule, **changes)  # type: ignore[type-var]
        except ValueError:  # options that do not go together
            continue
        formula = formula_of(other)
        if formula not in known:
            known.add(formula)
            yield ", ".join(f"{name}={value!r}" for name, value in changes.items()), other


def _options(rule: Rule) -> Iterator[dict[str, Any]]:
    hints = get_type_hints(type(rule), include_extras=True)
    choices: dict[str, list[Any]] = {}
    for field in dataclasses.fields(rule):  # type: ignore[arg-type]
        hint, value = hints[field.name], getattr(rule, field.name)
        values: tuple[Any, ...] = (True, False) if hint is bool else ()
        values = get_args(hint) if get_origin(hint) is Literal else values or _ANCHORS
        choices[field.name] = [x for x in values if x != value]
    for size in (1, 2):
        for names in itertools.combinations(choices, size):
            for picked in itertools.product(*(choices[name] for name in names)):
                yield dict(zip(names, picked, strict=True))


def _others(rule: Rule) -> str:
    parts = []
    for title, other in variants(rule):
        body = _math(formula_of(other))
        if other.form().update is not rule.form().update:
            body += "\n" + _code(textwrap.dedent(inspect.getsource(other.form().update)).strip())
        parts.append(_details(f"With {title}", body))
    return "\n".join(parts)


def _heading(text: str) -> str:
    return f"{text}\n{'-' * len(text)}\n"


def _math(latex: str) -> str:
    return f".. math::\n   :no-wrap:\n\n{_indented(latex)}\n"


def _code(text: str) -> str:
    return f".. code-block:: python\n\n{_indented(text)}\n"


def _folded(title: str, text: str) -> str:
    return _details(title, _code(text))


def _details(title: str, body: str) -> str:
    opening = f'.. raw:: html\n\n   <details class="kernel"><summary>{title}</summary>\n'
    return f"{opening}\n{body}\n.. raw:: html\n\n   </details>\n"


def _indented(text: str) -> str:
    return textwrap.indent(text, "   ")
