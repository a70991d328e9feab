"""The trial of a rule, from its file to a value that says all that was found."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adamas.rules import Rule
from adamas.rules._file import RuleFileError, mistake, opened

from . import _interpreted
from . import page as pages
from .agreement import Agreement, plan, why_slow
from .contest import Contest, contests, count
from .probes import signature, steps_are_sound

__all__ = ["Trial", "run"]

Listener = Callable[[float, str], object]
# The seconds of a comparison of backends, in those of a part of a contest: for the progress.
_WEIGHT = 3


@dataclass(frozen=True)
class Trial:
    """All that was found of one rule.

    Attributes:
        name, file: of the rule.
        slots: what it stores, "signed" or "non-negative" by name.
        hyperparameters: their defaults.
        fallback: why `adamas.torch` has no kernel for it, in the library's own words; None where it has.
        agreements: every backend in every format.
        contests: beside Adam; empty where that was not asked for.
        page: of the playground, with the rule; None where there is none.
        no_page: why not, if one was asked for.
    """

    name: str
    file: Path
    slots: Mapping[str, str]
    hyperparameters: Mapping[str, Any]
    fallback: str | None
    agreements: Sequence[Agreement]
    contests: Sequence[Contest]
    page: Path | None = None
    no_page: str | None = None

    @property
    def sound(self) -> bool:
        """Whether every backend that takes the rule agrees with the reference."""
        return all(each.agrees is not False for each in self.agreements)

    def plain(self) -> dict[str, Any]:
        """Return the same as dictionaries and lists, for JSON."""
        found = dataclasses.asdict(self)
        for contest in found["contests"]:
            for side in ("mine", "adam"):
                sweep = contest[side]["sweep"]
                contest[side]["sweep"] = [{"lr": lr, "cost": cost} for lr, cost in sweep.items()]
        page = None if self.page is None else str(self.page)
        return found | {"file": str(self.file), "page": page, "sound": self.sound}


def run(
    path: Path,
    only: Sequence[str] = (),
    compare: bool = True,
    page: Path | None = None,
    listen: Listener = lambda done, label: None,
) -> list[Trial]:
    """Try the rules of a file.

    Args:
        path: of the file.
        only: the names of rules to keep to; all by default.
        compare: whether to compare with Adam.
        page: where to write a page of the playground with these rules; None for none.
        listen: hears what share is done, from 0 to 1, and what comes next.

    Raises:
        RuleFileError: the file has no rule, or one that cannot be tried, or there is no folder for the page;
            nothing is left behind.
    """
    if page is not None and not page.absolute().parent.is_dir():
        raise RuleFileError(f"there is no folder {page.absolute().parent} for the page (--page)")
    with opened(path, only) as rules, contextlib.redirect_stdout(sys.stderr):
        parts = []
        for rule in rules:  # all mistakes come before any work
            parts.append(signature(rule, path))
            steps_are_sound(rule, path)
        found = []
        for k, (rule, about) in enumerate(zip(rules, parts, strict=True)):
            inner = functools.partial(_within, listen, k, len(rules))
            found.append(_tried(rule, path, about, compare, inner))
        if page is None:
            return found
        lacking = pages.write(rules, page)
    return [
        dataclasses.replace(each, page=None if each.name in lacking else page, no_page=lacking.get(each.name))
        for each in found
    ]


def _met(rule: Rule, path: Path, tell: Callable[[str], object]) -> list[Contest]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # `fallback` says it
        try:
            return contests(rule, tell)
        except Exception as error:
            raise RuleFileError(f"{type(rule).__name__} fails beside Adam: {mistake(path, error)}") from error


def _within(listen: Listener, k: int, n: int, done: float, label: str) -> None:
    listen((k + done) / n, label)


def _tried(rule: Rule, path: Path, about: Mapping[str, Any], compare: bool, listen: Listener) -> Trial:
    name, calls = type(rule).__name__, plan(rule)
    interpreted = None
    if not any(label.startswith("triton") for label, _ in calls) and _interpreted.Interpreted.possible():
        interpreted = _interpreted.Interpreted(path, name)
    try:
        total, done = _WEIGHT * len(calls) + (count() if compare else 0) + _WEIGHT, 0
        agreements = []
        for label, call in calls:
            listen(done / total, f"{name}: {label}")
            agreements.append(call())
            done += _WEIGHT

        def tell(label: str) -> None:
            nonlocal done
            done += 1
            listen(done / total, f"{name} and Adam: {label}")

        met = _met(rule, path, tell) if compare else []
        if interpreted is not None:
            listen(done / total, f"{name}: Triton's interpreter")
            agreements += interpreted.result()
    finally:
        if interpreted is not None:
            interpreted.stop()
    listen(1.0, name)
    return Trial(name, path, **about, fallback=why_slow(rule), agreements=agreements, contests=met)
