"""A class for every rule that has none of its own, made from the rule's fields; and classes by name."""

from __future__ import annotations

import dataclasses
import difflib
import functools
import inspect
import re
import textwrap
from collections.abc import Mapping
from typing import Any, ClassVar

from torch.optim.optimizer import ParamsT

from ..rules import Rule
from ..rules._found import rule_classes
from . import dropin, extra
from .dropin import Group, make_rule
from .keywords import with_step_options
from .optimizer import FusedOptimizer

__all__ = ["classes", "create"]

_KEYWORDS: dict[str, tuple[Any, str]] = {
    "decoupled_weight_decay": (True, "shrink p by 1 - lr λ, as AdamW does; False adds λ p to the gradient."),
    "maximize": (False, "step along the gradient, not against it."),
    "differentiable": (False, "let autograd see the step; it then runs on the reference backend."),
}
_PARAMS = "tensors, named tensors, or groups, as in torch.optim."
_DECAY = "λ, at least 0."
_RAISES = "    ValueError: an option is out of its range.\n    TypeError: there is no such option."


class _OfRule(FusedOptimizer):
    """The optimizer of a rule; its betas are one option, a tuple, as torch has them."""

    _rule: ClassVar[type[Rule]]
    # The constructor's arguments, without the options of a step, and the rule's betas among them.
    _arguments: ClassVar[inspect.Signature] = inspect.Signature()
    _betas: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if cls.__init__ is _OfRule.__init__:
            cls.__signature__ = with_step_options(cls._arguments)

    def __init__(self, *args: Any, **options: Any) -> None:
        try:
            bound = self._arguments.bind(*args, **options)
        except TypeError as error:
            raise TypeError(f"{type(self).__name__}: {error}") from None
        bound.apply_defaults()
        given = dict(bound.arguments)
        params, steps = given.pop("params"), given.pop("step_options")
        if "weight_decay" in _fields(self._rule):
            given["decoupled_weight_decay"] = None
        super().__init__(params, given, **steps)

    def rule_of(self, group: Group, checked: bool = False) -> Rule:
        options = {name: group[name] for name in _fields(self._rule) if name not in self._betas}
        if self._betas:
            betas = group["betas"]
            if len(betas) != len(self._betas):
                raise ValueError(f"Invalid betas: they must be {len(self._betas)} numbers, got {betas!r}")
            options |= dict(zip(self._betas, betas, strict=True))
        return make_rule(self._rule, checked, **options)


def _fields(rule: type[Rule]) -> dict[str, Any]:
    """The defaults of a rule's fields, by name."""
    return {field.name: field.default for field in dataclasses.fields(rule)}  # type: ignore[arg-type]


@functools.cache
def classes() -> dict[str, type[FusedOptimizer]]:
    """The class of every rule that neither torch.optim nor `extra` has one for."""
    known = {name.lower() for name in (*dropin.__all__, *extra.__all__)}
    return {name: _class_of(rule) for name, rule in rule_classes().items() if name.lower() not in known}


def _class_of(rule: type[Rule]) -> type[FusedOptimizer]:
    names = [name for name in _fields(rule) if re.fullmatch(r"beta\d", name)]
    betas = tuple(names) if len(names) > 1 else ()
    arguments = _signature(rule, betas)
    about = {
        "__doc__": _doc(rule, betas, arguments),
        "__module__": "adamas.torch",
        "_rule": rule,
        "_arguments": arguments,
        "_betas": betas,
        "counts_steps": rule.counts_steps,
    }
    return type(rule.__name__, (_OfRule,), about)


def _signature(rule: type[Rule], betas: tuple[str, ...]) -> inspect.Signature:
    fields, kind = _fields(rule), inspect.Parameter
    defaults: dict[str, Any] = {}
    for name, default in fields.items():
        if name not in betas:
            defaults[name] = default
        elif name == betas[0]:
            defaults["betas"] = tuple(fields[each] for each in betas)
    own = "weight_decay" in fields
    defaults |= {} if own else {"weight_decay": 0.0}
    keywords = {name: value for name, (value, _) in _KEYWORDS.items() if not (own and "decay" in name)}
    return inspect.Signature(
        [
            kind("params", kind.POSITIONAL_OR_KEYWORD, annotation=ParamsT),
            *(kind(name, kind.POSITIONAL_OR_KEYWORD, default=value) for name, value in defaults.items()),
            *(kind(name, kind.KEYWORD_ONLY, default=value) for name, value in keywords.items()),
            kind("step_options", kind.VAR_KEYWORD),
        ]
    )


def _doc(rule: type[Rule], betas: tuple[str, ...], arguments: inspect.Signature) -> str:
    """The rule's docstring, with the arguments of the class."""
    text, _, rest = (inspect.getdoc(rule) or rule.__name__).partition("\nArgs:\n")
    if rule.__name__ not in text.partition("\n")[0]:
        text = f"{rule.__name__}. {text}"
    known = {name: " ".join(said.split()) for name, said in _ENTRY.findall(textwrap.dedent(rest))}
    known["betas"] = " ".join(f"{name}, {known.get(name, '')}" for name in betas)
    known = {"params": _PARAMS, "weight_decay": _DECAY} | {k: v[1] for k, v in _KEYWORDS.items()} | known
    lines = [
        textwrap.fill(f"{name}: {known.get(name, '')}", 106, initial_indent="    ", subsequent_indent=" " * 8)
        for name in arguments.parameters
        if name != "step_options"
    ]
    return f"{text.rstrip()}\n\nArgs:\n" + "\n".join(lines) + f"\n\nRaises:\n{_RAISES}\n"


# An argument and what is said of it, in lines that are indented more.
_ENTRY = re.compile(r"^(\w+): (.*(?:\n[ ]+.*)*)", re.MULTILINE)


def create(name: str, params: ParamsT, **options: Any) -> FusedOptimizer:
    """An optimizer by the name of its class, for configuration files: `create("lion", params, lr=1e-4)`.

    Args:
        name: of a class of `adamas.torch`, such as "adamw" or "schedule-free-adamw"; case, "-" and "_" do not
            matter.
        params: tensors, named tensors, or groups, as in torch.optim.
        **options: the arguments of the class.

    Raises:
        ValueError: there is no such class; the nearest names are given.
        TypeError: the class has no such option; those that it has are given.
    """
    found = _by_name()
    cls = found.get(_plain(name)) if isinstance(name, str) else None
    if cls is None:
        near = difflib.get_close_matches(_plain(str(name)), found, n=3, cutoff=0.5)
        nearest = (
            f"; the nearest are {', '.join(repr(found[each].__name__) for each in near)}" if near else ""
        )
        raise ValueError(f"there is no optimizer {name!r}{nearest}")
    known = [each for each in inspect.signature(cls).parameters if each != "params"]
    for option in options:
        if option not in known:
            raise TypeError(f"{cls.__name__} has no option {option!r}; there are {', '.join(known)}")
    return cls(params, **options)


def _plain(name: str) -> str:
    return re.sub(r"[-_ ]", "", name).lower()


@functools.cache
def _by_name() -> Mapping[str, type[FusedOptimizer]]:
    fixed = {name: getattr(room, name) for room in (dropin, extra) for name in room.__all__}
    every = {**fixed, **classes()}
    return {_plain(name): cls for name, cls in every.items() if cls is not extra.Optimizer}
