"""What other libraries have of the rules: each is of a rule, can be stepped, or says what to install."""

import contextlib
import sys
import warnings
from typing import Any

import pytest

pytest.importorskip("torch", reason="the benchmarks time torch optimizers")

from adamas._tools.modules import load
from adamas.bench.pairs import Pair, UnavailableError
from adamas.bench.rule_peers import rule_peers
from adamas.bench.suites.rules import bytes_of
from adamas.bench.workloads import WORKLOADS
from adamas.rules import LAMB, SGD, Adam, AdEMAMix, NovoGrad, Prodigy, Rule
from adamas.rules._found import rule_classes

SHAPES = WORKLOADS["rl-mlp"]()
PEERS = [(rule, peer) for rule, peers in rule_peers().items() for peer in peers]
# heavyball compiles for seconds, and XLA for one each: of optax, one whose state holds the parameters.
QUICK = [(rule, peer) for rule, peer in PEERS if peer.name not in ("heavyball", "optax") or rule == "Prodigy"]


def test_each_is_of_a_rule() -> None:
    assert {rule for rule, _ in PEERS} <= set(rule_classes())
    assert {peer.name for _, peer in PEERS} >= {"pytorch_optimizer", "optimi", "heavyball", "schedulefree"}


@pytest.mark.parametrize(("rule", "peer"), QUICK, ids=[f"{rule}-{peer.name}" for rule, peer in QUICK])
def test_each_can_be_stepped(rule: str, peer: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with contextlib.redirect_stdout(sys.stderr):
            try:
                call = peer.make(SHAPES)
            except UnavailableError as reason:
                if "pip install" not in str(reason):
                    raise
                pytest.skip(str(reason))
            call()
            call()


def test_optax_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optax", None)
    peer = next(peer for _, peer in PEERS if peer.name == "optax")
    with pytest.raises(UnavailableError, match="pip install jax optax"):
        peer.make(SHAPES)


def test_the_suite_has_them_where_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[Pair] = []
    suite = load("adamas.bench.suites", "rules")
    monkeypatch.setattr(suite, "compare", lambda title, pairs, rounds: found.extend(pairs))
    suite.run(["rl-mlp"], 3, False)
    assert all(pair.by_bytes for pair in found)
    found.clear()
    suite.run(["rl-mlp"], 3, True)
    beside = [(pair.ours.name, pair.theirs.name) for pair in found if not pair.by_bytes]
    assert sorted(beside) == sorted((rule, peer.name) for rule, peer in PEERS)


@pytest.mark.parametrize(
    ("rule", "arrays"),
    [
        (SGD(), 3),
        (Adam(), 3 + 2 * 2),
        (AdEMAMix(), 3 + 2 * 3),
        # The pass that measures reads p, g, m and v; g; and all but m and v.
        (LAMB(), 3 + 2 * 2 + 4),
        (NovoGrad(), 3 + 2 + 1),
        (Prodigy(), 3 + 2 * 4 + 3),
    ],
    ids=lambda value: repr(value)[:10],
)
def test_the_bytes_of_a_step(rule: Rule, arrays: int) -> None:
    assert bytes_of(rule) == 4 * arrays
