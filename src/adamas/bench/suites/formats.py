"""Adam with parameters and state in fewer bits, beside torch's fused step and 8-bit optimizers."""

from collections.abc import Sequence

import torch

from .. import contenders
from ..contenders import float32_fused, low_bit, ours, theirs
from ..pairs import Bench, Pair, compare

WORKLOADS = ("gpt2-small",)


def run(workloads: Sequence[str], rounds: int, peers: bool) -> Bench:
    """Measure every format on every workload."""
    all16 = ours("adamas bfloat16", torch.bfloat16, 14.0, state_format="bfloat16")
    state16 = ours("adamas bfloat16 state", bytes=20.0, state_format="bfloat16")
    float32 = float32_fused()
    bfloat16 = theirs(
        "torch fused bfloat16", lambda params: torch.optim.Adam(params, fused=True), torch.bfloat16
    )
    matches = [(ours("adamas float32"), float32), (state16, float32), (all16, float32), (all16, bfloat16)]
    matches += [(state, float32) for state in low_bit()]
    if peers:
        others = [peer for peer in contenders.peers() if "8" in peer.name]
        matches += [(state, peer) for state in low_bit() if "8" in state.name for peer in others]
    pairs = [Pair(name, *match) for name in workloads for match in matches]
    return compare("One step of Adam in fewer bits", pairs, rounds)
