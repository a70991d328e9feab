"""What the tests of offloading share: a device whose copies are late, in memory of the CPU."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


class Late:
    """Gradients are there when they are waited for, and parameters when they are ordered, no sooner.

    Attributes:
        log: what was called: "fetch", "wait", "send", "order".
        before_wait, after_send: called by whoever waits and sends.
    """

    shared = False

    def __init__(self) -> None:
        self.log: list[str] = []
        self._sent: list[tuple[Tensor, Tensor]] = []
        self.before_wait: Callable[[], object] = lambda: None
        self.after_send: Callable[[], object] = lambda: None

    def empty(self, like: Tensor, dtype: torch.dtype) -> Tensor:
        return torch.empty_like(like, dtype=dtype, requires_grad=False).fill_(torch.nan)

    def fetch(self, source: Tensor, target: Tensor) -> Callable[[], object]:
        self.log.append("fetch")
        made = source.clone()  # the memory may be used again at once

        def wait() -> None:
            self.before_wait()
            self.log.append("wait")
            target.copy_(made)

        return wait

    def send(self, source: Tensor, target: Tensor) -> None:
        self.log.append("send")
        torch.autograd.graph.increment_version((target,))
        self._sent.append((source, target))
        self.after_send()

    def order(self) -> None:
        self.log.append("order")
        for source, target in self._sent:
            target.data.copy_(source)  # `.data`: the version was increased by `send`, as a stream's copy does
        self._sent.clear()
