"""Every rule's bytes a second beside Adam's own: 1 is the same speed of memory; and other libraries' time."""

import ast
import inspect
import textwrap
from collections.abc import Iterator, Sequence

import torch

import adamas.torch
from adamas import rules
from adamas.rules._found import rule_classes

from ..contenders import theirs
from ..pairs import Bench, Contender, Pair, compare
from ..rule_peers import rule_peers

WORKLOADS = ("gpt2-small",)


def run(workloads: Sequence[str], rounds: int, peers: bool) -> Bench:
    """Measure every rule on every workload: by bytes beside Adam, by time beside each peer that has it."""
    adam = _contender("Adam", rules.Adam())
    known = rule_peers() if peers else {}
    pairs = []
    for name in workloads:
        for label, rule in compared():
            ours = _contender(label, rule)
            pairs.append(Pair(name, ours, adam, by_bytes=True))
            pairs += [Pair(name, ours, peer) for peer in known.get(label, ())]
    title = "Every rule, float32: its bytes a second over Adam's"
    return compare(title + ("; the time of others over its own" if peers else ""), pairs, rounds)


def bytes_of(rule: rules.Rule) -> float:
    """Bytes that a step of a rule reads and writes a parameter, all of it float32.

    It reads p, g and slots, and writes p and slots. The pass that measures for a rule with sums reads before
    what of these `measure` names; the compiler leaves out the rest.
    """
    form = rule.form()
    moved = 3 + 2 * len(form.slots)
    if form.reduction is not None:
        text = textwrap.dedent(inspect.getsource(form.reduction.measure))
        named = {node.id for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Name)}
        moved += len(named & {"p", "g", *form.slots})
    return 4.0 * moved


def _contender(label: str, rule: rules.Rule) -> Contender:
    def make(params: list[torch.nn.Parameter]) -> torch.optim.Optimizer:
        return adamas.torch.Optimizer(params, rule)

    return theirs(label, make, bytes=bytes_of(rule))


def compared() -> Iterator[tuple[str, rules.Rule]]:
    """Yield every rule with its defaults, and the variants with the most slots."""
    for name, rule in rule_classes().items():
        yield name, rule()
    yield "SGD, Nesterov", rules.SGD(momentum=0.9, nesterov=True)
    yield "RMSprop, centered, momentum", rules.RMSprop(momentum=0.9, centered=True)
    yield "MARS, unclipped", rules.MARS(clip=False)
