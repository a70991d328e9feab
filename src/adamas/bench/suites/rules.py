"""Every rule's bytes a second beside Adam's own: 1 is the same speed of memory."""

from collections.abc import Iterator, Sequence

import torch

import adamas.torch
from adamas import rules
from adamas.rules._found import rule_classes

from ..contenders import theirs
from ..pairs import Bench, Contender, Pair, compare

WORKLOADS = ("gpt2-small",)


def run(workloads: Sequence[str], rounds: int, peers: bool) -> Bench:
    """Measure every rule on every workload; there are no peers."""
    adam = _contender("Adam", rules.Adam())
    pairs = [
        Pair(name, _contender(label, rule), adam, by_bytes=True)
        for name in workloads
        for label, rule in compared()
    ]
    return compare("Every rule, float32: its bytes a second over Adam's", pairs, rounds)


def _contender(label: str, rule: rules.Rule) -> Contender:
    def make(params: list[torch.nn.Parameter]) -> torch.optim.Optimizer:
        return adamas.torch.Optimizer(params, rule)

    # reads p, g and slots; writes p and slots
    return theirs(label, make, bytes=4.0 * (3 + 2 * len(rule.form().slots)))


def compared() -> Iterator[tuple[str, rules.Rule]]:
    """Yield every rule with its defaults, and the variants with the most slots."""
    for name, rule in rule_classes().items():
        yield name, rule()
    yield "SGD, Nesterov", rules.SGD(momentum=0.9, nesterov=True)
    yield "RMSprop, centered, momentum", rules.RMSprop(momentum=0.9, centered=True)
