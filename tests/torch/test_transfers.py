"""The copies of offloaded parameters: on which streams of CUDA they are, and what waits for what."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor

from adamas.torch.transfers import Cuda, Direct, transfers_of


class Stream:
    """A stream that writes down what it waits for."""

    def __init__(self, log: list[str], name: str) -> None:
        self.log, self.name = log, name

    def wait_stream(self, other: Stream) -> None:
        self.log.append(f"{self.name} waits for {other.name}")


class Event:
    """An event that writes down where it is recorded and waited for."""

    def __init__(self, log: list[str], blocking: bool = False) -> None:
        self.log, self.blocking = log, blocking

    def record(self, stream: Stream) -> None:
        self.log.append(f"event on {stream.name}")

    def synchronize(self) -> None:
        self.log.append("host waits, asleep" if self.blocking else "host waits, spinning")


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is called of torch.cuda, which is not there; no other of its functions can be called."""
    found: list[str] = []
    names = iter(("in", "out"))

    @contextmanager
    def stream(which: Stream) -> Iterator[None]:
        found.append(f"on {which.name}:")
        yield
        found.append("end")

    def copy(target: Tensor, source: Tensor, non_blocking: bool = False) -> None:
        found.append("copy" if non_blocking else "blocking copy")

    class Fake:
        Stream = staticmethod(lambda device: Stream(found, next(names)))
        Event = staticmethod(lambda **options: Event(found, **options))
        current_stream = staticmethod(lambda device: Stream(found, "current"))

    Fake.stream = staticmethod(stream)  # type: ignore[attr-defined]
    monkeypatch.setattr(torch, "cuda", Fake)
    monkeypatch.setattr(Tensor, "copy_", copy)
    monkeypatch.setattr(Tensor, "record_stream", lambda x, which: found.append(f"kept for {which.name}"))
    return found


def test_a_gradient_follows_what_computes_it_and_is_kept_until_it_is_copied(log: list[str]) -> None:
    wait = Cuda(torch.device("cuda", 0)).fetch(torch.ones(3), torch.zeros(3))
    began = [
        "in waits for current",
        "out waits for current",
        "on in:",
        "copy",
        "kept for in",
        "event on in",
        "end",
    ]
    assert log == began
    wait()
    assert log == [*began, "host waits, asleep"]


def test_a_parameter_is_copied_beside_and_the_next_forward_waits(log: list[str]) -> None:
    moves = Cuda(torch.device("cuda", 0))
    moves.send(torch.ones(3), torch.zeros(3))
    sent = ["on out:", "copy", "kept for out", "end"]
    assert log == sent
    moves.order()
    assert log == [*sent, "current waits for out"]


def test_memory_for_copies_is_pinned(monkeypatch: pytest.MonkeyPatch, log: list[str]) -> None:
    asked: dict[str, Any] = {}
    monkeypatch.setattr(torch, "empty_like", lambda like, **options: asked.update(options) or like)
    Cuda(torch.device("cuda", 0)).empty(torch.ones(3), torch.float16)
    assert asked == {"dtype": torch.float16, "device": "cpu", "requires_grad": False, "pin_memory": True}


def test_other_devices_are_copied_to_directly() -> None:
    assert transfers_of(torch.device("cpu")).shared
    other = Direct(torch.device("meta"))
    assert not other.shared
    source = torch.arange(6.0).reshape(2, 3).t()
    target = other.empty(source, torch.float64)
    assert (target.stride(), target.device.type) == (source.stride(), "cpu")
    other.fetch(source, target)()
    assert bool((target == source).all())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("in_backward", [False, True])
def test_on_a_gpu_the_numbers_are_those_of_the_cpu(dtype: torch.dtype, in_backward: bool) -> None:
    from adamas.torch import AdamW

    there = [torch.randn(1 << 20, device="cuda", dtype=dtype).requires_grad_() for _ in range(4)]
    here = [p.detach().cpu().requires_grad_() for p in there]
    opts = AdamW(there, lr=0.01, offload=True), AdamW(here, lr=0.01, offload=True)
    if in_backward:
        opts[0].step_in_backward()
    for _ in range(4):
        gradients = [torch.randn_like(p) for p in there]
        torch.autograd.backward(there, gradients)
        torch.autograd.backward(here, [g.cpu() for g in gradients])
        for opt in opts:
            opt.step()
            opt.zero_grad()
        assert all(torch.equal(p.cpu(), q) for p, q in zip(there, here, strict=True))
    assert all(x.device.type == "cpu" for state in opts[0].state.values() for x in state.values())
