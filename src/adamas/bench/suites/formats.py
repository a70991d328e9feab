"""Adam with parameters and state in fewer bits, beside torch's fused step and 8-bit optimizers."""

from collections.abc import Sequence

import torch

from ..contenders import installed_peers, ours, theirs
from ..pairs import Bench, Contender, Pair, compare

WORKLOADS = ("gpt2-small",)


def _fused(dtype: torch.dtype) -> Contender:
    name = f"torch fused {str(dtype).removeprefix('torch.')}"
    return theirs(name, lambda params: torch.optim.Adam(params, fused=True), dtype)


def run(workloads: Sequence[str], rounds: int, peers: bool) -> Bench:
    """Measure every format on every workload."""
    all16 = ours("adamas bfloat16", torch.bfloat16, 14.0, state_format="bfloat16")
    state16 = ours("adamas bfloat16 state", bytes=20.0, state_format="bfloat16")
    state8 = ours("adamas float8 state", bytes=16.0 + 2 * 8 / 128, state_format="float8")
    float32, bfloat16 = _fused(torch.float32), _fused(torch.bfloat16)
    matches = [(ours("adamas float32"), float32), (state16, float32), (all16, float32), (all16, bfloat16)]
    matches += [(state8, float32)]
    if peers:
        matches += [(state8, peer) for peer in installed_peers() if "8" in peer.name]
    pairs = [Pair(name, *match) for name in workloads for match in matches]
    return compare("One step of Adam in fewer bits", pairs, rounds)
