"""What the tests of the torch front end share: every optimizer, assorted parameters, bits and tolerances."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

import adamas.torch
from adamas.rules import SIGNED, Rule, xp
from adamas.torch.family import classes

Make = Callable[..., torch.optim.Optimizer]


@dataclasses.dataclass(frozen=True)
class SignMomentum(Rule):
    """A user's own rule: the sign of a running mean, so it has a slot and scalars of its own."""

    lr: float = 1e-3
    beta: float = 0.75

    slots = {"mean": SIGNED}

    def scalars(self, t: int) -> tuple[float, ...]:
        return self.lr / t**0.5, self.beta, 1 - self.beta

    @staticmethod
    def update(p, g, mean, lr, beta, gain):
        mean = beta * mean + gain * g
        return p - lr * xp.sign(mean), mean


def own(params: Any, lr: float = 1e-3, **options: Any) -> adamas.torch.Optimizer:
    return adamas.torch.Optimizer(params, SignMomentum(lr), **options)


def one_of_each_kind(made: Mapping[str, type[Any]]) -> set[str]:
    """Of the classes that are made of rules, one for each kind of state, that with the most slots.

    They are one class with one rule or another, and `test_family.py` compares each with `Optimizer`; all of
    them in all tests would take longer than everything else. Rules with sums have tests of their own.
    """
    rules = {name: cls.rule_of(made := cls([torch.zeros(1)]), made.defaults) for name, cls in made.items()}
    kinds: dict[Any, str] = {}
    for name, rule in sorted(rules.items(), key=lambda each: len(each[1].form().slots)):
        if rule.form().reduction is None:
            kinds[bool(rule.carried), hasattr(rule, "weight_decay")] = name
    return set(kinds.values())


_MADE = classes()
_LEFT = _MADE.keys() - one_of_each_kind(_MADE)

_EVERY: dict[str, type[Any]] = {
    name: value
    for name in adamas.torch.__all__
    if name not in ("Optimizer", *_LEFT)
    and isinstance(value := getattr(adamas.torch, name), type)
    and issubclass(value, torch.optim.Optimizer)
}
# Every class that is a rule's own, and not the one that takes any; those for sparse gradients apart, because
# torch's refuses dense ones.
LAZY: dict[str, type[Any]] = {name: cls for name, cls in _EVERY.items() if cls.of_options}
CLASSES: dict[str, type[torch.optim.Optimizer]] = {k: cls for k, cls in _EVERY.items() if k not in LAZY}

# The classes that torch.optim has too, by their common name.
DROP_IN: dict[str, Make] = {name: cls for name, cls in CLASSES.items() if hasattr(torch.optim, name)}

# Every class, and every rule that a class's options can select.
OPTIMIZERS: dict[str, Make] = dict[str, Make](CLASSES) | {
    "Adam-amsgrad": functools.partial(adamas.torch.Adam, amsgrad=True),
    "AdamW-amsgrad": functools.partial(adamas.torch.AdamW, amsgrad=True),
    "SGD-momentum": functools.partial(adamas.torch.SGD, momentum=0.9, dampening=0.5),
    "SGD-nesterov": functools.partial(adamas.torch.SGD, momentum=0.9, nesterov=True),
    "RMSprop-momentum": functools.partial(adamas.torch.RMSprop, momentum=0.9),
    "RMSprop-centered": functools.partial(adamas.torch.RMSprop, centered=True),
    "RMSprop-both": functools.partial(adamas.torch.RMSprop, momentum=0.9, centered=True),
    "Optimizer": own,
}


def randn(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@contextlib.contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """In float64, torch counts steps and keeps NAdam's product of momenta in float64 as well."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def leaf(x: Tensor) -> Tensor:
    return x.detach().requires_grad_()


def simple(dtype: torch.dtype = torch.float32) -> list[Tensor]:
    """A matrix and a vector: what most tests of behaviour need."""
    return [leaf(randn(5, 3, seed=1, dtype=dtype)), leaf(randn(4, seed=2, dtype=dtype))]


def assorted(dtype: torch.dtype) -> list[Tensor]:
    """Parameters of every shape and layout that a model may have."""
    make = functools.partial(randn, dtype=dtype)
    return [
        leaf(x)
        for x in (
            make(5, 3, seed=1),
            make(17, seed=2),
            make(seed=3),
            make(0, seed=4),
            make(3, 0, seed=5),
            make(1, seed=6),
            make(2, 3, 4, 5, seed=7).to(memory_format=torch.channels_last),
            make(4, 6, seed=8).t(),
            make(6, 6, seed=9)[:, ::2],
            make(3, 4, seed=10, dtype=dtype.to_complex()),
        )
    ]


def copies(params: Iterable[Tensor]) -> list[Tensor]:
    return [leaf(p.detach().clone()) for p in params]


def give_gradients(params: Iterable[Tensor], seed: int) -> None:
    """A fresh gradient for each parameter, the same for equal seeds; one element of each is zero."""
    for k, p in enumerate(params):
        g = randn(*p.shape, seed=1000 * seed + k, dtype=p.dtype)
        g.view(-1)[:1] = 0
        p.grad = torch.empty_like(p).copy_(g) if p.numel() != 1 else torch.empty_like(p).fill_(0.5 + k)


def train(opt: torch.optim.Optimizer, params: Sequence[Tensor], seeds: Iterable[int]) -> None:
    for seed in seeds:
        give_gradients(params, seed)
        opt.step()


def bits(tree: Any) -> Any:
    """The same nest of containers with the bits of every tensor in place of the tensor: equal if and only
    if no bit, shape or type differs."""
    if isinstance(tree, Tensor):
        flat = tree.detach().resolve_conj().resolve_neg().contiguous().flatten()
        return tree.dtype, tuple(tree.shape), bytes(flat.view(torch.uint8).tolist())
    if isinstance(tree, Mapping):
        return {key: bits(value) for key, value in tree.items()}
    if isinstance(tree, (list, tuple)):
        return [bits(value) for value in tree]
    return tree


def everything(opt: torch.optim.Optimizer) -> Any:
    """The bits of all that a step may change."""
    return bits([[p for group in opt.param_groups for p in group["params"]], opt.state_dict()])


def assert_rounding(actual: Any, expected: Any, ulps: float = 64, msg: Any = None) -> None:
    """Equal up to `ulps` units in the last place of numbers of size 1.

    A step that folds its scalars in another order is off by a few units, each step adds half a unit
    of the parameter's own rounding, and parameters here are of size 1 and steps at most of size 1.
    """
    for a, b in zip(actual, expected, strict=True):
        eps = torch.finfo(b.dtype).eps
        torch.testing.assert_close(a, b, rtol=ulps * eps, atol=ulps * eps, check_stride=False, msg=msg)
