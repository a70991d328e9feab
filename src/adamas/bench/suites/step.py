"""One step of Adam in float32, beside torch's Adam."""

from collections.abc import Sequence

from .. import contenders
from ..contenders import ours, torch_peers
from ..pairs import Bench, Pair, compare

# One that fits a cache, one with many tensors, one that fits the last-level cache, and two that fit none.
WORKLOADS = ("rl-mlp", "many-small", "mnist-mlp", "one-81m", "gpt2-small")


def run(workloads: Sequence[str], rounds: int, peers: bool) -> Bench:
    """Measure every workload beside every peer."""
    others = torch_peers() + (contenders.peers() if peers else [])
    pairs = [Pair(name, ours(), other) for name in workloads for other in others]
    return compare("One step of Adam, float32", pairs, rounds)
