"""One training step of a GPT-2 in a process of its own, whose memory is limited and measured."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import adamas.torch

from .gpt2 import GPT2, step_loss
from .workloads import gpt2

__all__ = ["OneStep", "limit_memory", "peak_bytes"]

_STATUS = Path("/proc/self/status")


@dataclass(frozen=True)
class OneStep:
    """What the process is to do.

    Attributes:
        shape: the arguments of `workloads.gpt2`.
        tokens: in the one sequence of the batch.
        state_format: of our Adam, beside parameters in bfloat16; None for torch's Adam, all in float32.
        limit: bytes of memory that the process may have; None for any number.
    """

    shape: tuple[int, ...]
    tokens: int
    state_format: str | None
    limit: int | None

    def take(self) -> dict[str, Any]:
        """Limit the memory of this process, train, and return the peak and the loss before and after."""
        limited = self.limit is not None and limit_memory(self.limit)
        torch.manual_seed(0)
        if self.state_format is not None:
            torch.set_default_dtype(torch.bfloat16)
        shapes = gpt2(*self.shape)
        model = GPT2(shapes)
        step = self._prepare(list(model.parameters()))
        codes = torch.randint(shapes[0][0], (1, self.tokens + 1))
        start = time.perf_counter()
        loss = step_loss(model, codes)
        loss.backward()
        step()
        seconds = time.perf_counter() - start
        with torch.no_grad():
            after = step_loss(model, codes)
        found = {"peak": peak_bytes(), "limited": limited, "seconds": seconds}
        return found | {"loss": float(loss), "after": float(after)}

    def _prepare(self, params: list[torch.nn.Parameter]) -> Callable[[], object]:
        """Return what is to be called after the backward pass."""
        if self.state_format is None:
            return torch.optim.Adam(params, lr=1e-4).step
        opt = adamas.torch.Adam(params, lr=1e-4, state_format=self.state_format)
        opt.step_in_backward()
        return opt.step


def limit_memory(bytes: int) -> bool:
    """Let allocations beyond so many bytes of private memory fail; False where the system cannot.

    On Linux RLIMIT_DATA counts all private memory that can be written, resident or not. RLIMIT_AS would
    count libraries and reserved addresses too; macOS takes RLIMIT_DATA and does not hold to it.
    """
    if sys.platform != "linux":
        return False
    import resource

    resource.setrlimit(resource.RLIMIT_DATA, (bytes, bytes))
    return True


def peak_bytes() -> int | None:
    """Return the most resident memory that this process has had; None where the system does not say."""
    # ru_maxrss of a process starts at that of its parent on Linux; VmHWM is the process's own.
    if _STATUS.exists():
        for line in _STATUS.read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


if __name__ == "__main__":
    asked = json.loads(sys.argv[1])
    print(json.dumps(OneStep(**{**asked, "shape": tuple(asked["shape"])}).take()))
