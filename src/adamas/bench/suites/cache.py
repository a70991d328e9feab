"""One step of Adam on one thread over parameters that stay in a core's cache: arithmetic, and no memory."""

from collections.abc import Sequence

import torch

from ..contenders import float32_fused, low_bit, ours
from ..pairs import Bench, Pair, compare

WORKLOADS = ("one-100k",)


def run(workloads: Sequence[str], rounds: int, peers: bool) -> Bench:
    """Measure float32, all bfloat16 and every format of fewer bits beside torch's fused step."""
    all16 = ours("adamas bfloat16", torch.bfloat16, 14.0, state_format="bfloat16")
    mine = [ours("adamas float32"), all16, *low_bit()]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        pairs = [Pair(name, contender, float32_fused()) for name in workloads for contender in mine]
        return compare("One step of Adam in cache, one thread", pairs, rounds)
    finally:
        torch.set_num_threads(threads)
