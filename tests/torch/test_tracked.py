"""No row of a tracked parameter is read behind its time, whoever reads it and however."""

from __future__ import annotations

import copy
import functools
import io
import pickle
import signal
import threading
from collections.abc import Callable
from multiprocessing.reduction import ForkingPickler
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sparse_support import Twins, apart
from torch import Tensor, nn

import adamas.torch as at
from adamas.backends.numba import RowJob
from adamas.torch.tracked import TrackedParameter

MAKE = functools.partial(at.AdamW, lr=0.01, weight_decay=0.1)


def saved(x: Any) -> Any:
    """What torch.save and torch.load make of it."""
    file = io.BytesIO()
    torch.save(x, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


def scattered(w: Tensor) -> Tensor:
    """Written into another tensor."""
    made = torch.zeros(w.shape, dtype=w.dtype)
    made[:] = w.detach()
    return made


EVERY, START = torch.arange(50), torch.tensor([0])
LINEAR = nn.Linear(4, 50, bias=False, dtype=torch.float64)
READS: dict[str, Callable[[Tensor], Tensor]] = {
    "a row": lambda w: w[7],
    "rows": lambda w: w[3:9],
    "rows by number": lambda w: w[torch.tensor([1, 40])],
    "iteration": lambda w: torch.stack(list(w)),
    "an element": lambda w: torch.tensor(w[30, 2].item(), dtype=torch.float64),
    "clone": lambda w: w.clone(),
    "detach": lambda w: w.detach().clone(),
    "data": lambda w: w.data.clone(),
    "numpy": lambda w: torch.from_numpy(w.detach().numpy().copy()),
    "tolist": lambda w: torch.tensor(w.tolist(), dtype=torch.float64),
    "dlpack": lambda w: torch.from_dlpack(w.detach()).clone(),
    "to": lambda w: w.to(torch.complex128).real,
    "a tied layer": lambda w: F.linear(torch.ones(2, 4, dtype=torch.float64), w),
    "norm": lambda w: w.norm(),
    "largest": lambda w: torch.max(w),
    "stack": lambda w: torch.stack([w, w]),
    "cat": lambda w: torch.cat([w, torch.zeros(1, 4, dtype=torch.float64)]),
    "einsum": lambda w: torch.einsum("ij->j", w),
    "product": lambda w: w @ w.T,
    "foreach": lambda w: torch._foreach_add([w.detach()], 1.0)[0],
    "copy to": lambda w: torch.zeros(50, 4, dtype=torch.float64).copy_(w.detach()),
    "assignment": scattered,
    "out": lambda w: torch.mul(w.detach(), 2.0, out=torch.empty(50, 4, dtype=torch.float64)),
    "vmap": lambda w: torch.vmap(lambda row: 2 * row)(w.detach()),
    "gradient": lambda w: torch.autograd.grad((w**2).sum(), w)[0],
    "F.embedding": lambda w: F.embedding(EVERY, w),
    "F.embedding_bag": lambda w: F.embedding_bag(EVERY, w, torch.tensor([0, 5, 9])),
    "F.embedding_bag, swapped": lambda w: F.embedding_bag(
        input=EVERY, weight=w, offsets=torch.tensor([0, 5])
    ),
    "torch.embedding": lambda w: torch.embedding(w, EVERY),
    "int32": lambda w: F.embedding(EVERY.int(), w),
    "deepcopy": copy.deepcopy,
    "pickle": lambda w: pickle.loads(pickle.dumps(w)),
    "torch.save": saved,
}


@pytest.fixture(scope="module")
def twins() -> Twins:
    return Twins(MAKE)


@pytest.mark.parametrize("name", READS)
def test_reads(twins: Twins, name: str) -> None:
    twins.train(9)
    assert any(rows.behind for rows in twins.opts[0]._lagging.values())
    found = READS[name](twins.sparse.weight)
    right = READS[name](twins.dense.weight)
    assert apart(found.detach(), right.detach()) < 1e-13


@pytest.mark.parametrize("name", ["detach", "data", "row", "view", "state dict"])
def test_views_taken_before(name: str) -> None:
    take: dict[str, Callable[[nn.Embedding], Tensor]] = {
        "detach": lambda e: e.weight.detach(),
        "data": lambda e: e.weight.data,
        "row": lambda e: e.weight.detach()[5],
        "view": lambda e: e.weight.detach().view(-1)[3:90],
        "state dict": lambda e: e.state_dict()["weight"],
    }
    twins = Twins(MAKE)
    views = [take[name](embedding) for embedding, _ in twins.both]
    for _ in range(4):
        twins.train(9)
        assert apart(views[0] * 1, views[1]) < 1e-13
    assert type(saved(views[0])) is Tensor


def test_models_and_optimizers_as_a_whole() -> None:
    twins = Twins(MAKE)
    makes: list[Callable[[nn.Embedding, Any], Tensor]] = [
        lambda e, _: e.state_dict()["weight"].clone(),
        lambda e, _: copy.deepcopy(e).weight,
        lambda e, _: saved(e).weight,
        lambda e, _: saved(e.state_dict())["weight"],
        lambda _, opt: copy.deepcopy(opt).param_groups[0]["params"][0],
        lambda _, opt: pickle.loads(pickle.dumps(opt)).param_groups[0]["params"][0],
        lambda e, _: torch.func.functional_call(LINEAR, {"weight": e.weight}, (EVERY[:4].double(),)),
    ]
    for make in makes:
        twins.train(9)
        found, right = (make(embedding, opt).detach() for embedding, opt in twins.both)
        assert apart(found, right) < 1e-13
        assert not isinstance(found, TrackedParameter)
    assert isinstance(twins.sparse.weight, TrackedParameter)
    assert repr(twins.sparse.weight).startswith("Parameter containing:\ntensor([[")


def test_what_is_written_to_a_parameter_counts() -> None:
    twins = Twins(MAKE)
    twins.train(9)
    with torch.no_grad():
        for embedding, _ in twins.both:
            embedding.weight.mul_(0.5)
            embedding.weight[3] = 1
            embedding.weight.data[4].fill_(2)
    twins.train(9)
    weight = twins.dense.weight.detach().clone()
    twins.train(9)
    for embedding, _ in twins.both:
        embedding.load_state_dict({"weight": weight})
    twins.train(9)
    for embedding, _ in twins.both:
        embedding.weight.data = embedding.weight.data.clone()
    twins.train(9)
    assert twins.apart() < 1e-13


def test_a_model_that_changes_its_type() -> None:
    twins = Twins(MAKE, dtype=torch.float32)
    twins.train(20)
    for embedding, _ in twins.both:
        embedding.double()
    twins.train(20)
    assert twins.sparse.weight.dtype == torch.float64
    assert twins.apart() < 1e-5
    twins.sparse.bfloat16()
    with pytest.raises(ValueError, match=r"tracked, and of torch\.bfloat16"):
        twins.train(1)


def test_checkpoints_are_those_of_dense_gradients() -> None:
    twins = Twins(MAKE)
    twins.train(20)
    states = [copy.deepcopy(opt.state_dict()) for opt in twins.opts]
    upstream = torch.optim.AdamW([nn.Parameter(twins.dense.weight.detach().clone())])
    upstream.load_state_dict(twins.opts[0].torch_state_dict())
    assert upstream.state_dict()["state"][0].keys() == states[1]["state"][0].keys()
    twins.train(20)
    for opt, state in zip(twins.opts, reversed(states), strict=True):
        opt.load_state_dict(state)
    twins.train(20)
    assert twins.apart() < 1e-12


def test_what_reads_no_values_costs_nothing() -> None:
    twins = Twins(MAKE)
    twins.train(20)
    w, (rows,) = twins.sparse.weight, twins.opts[0]._lagging.values()
    assert w.shape == (50, 4)
    assert (w.dtype, w.dim(), w.numel(), w.requires_grad, w.is_leaf, len(w)) == (
        torch.float64,
        2,
        200,
        True,
        True,
        50,
    )
    assert w.grad is not None
    w.grad = None
    list(twins.sparse.named_parameters())
    hash(w)
    assert rows.behind
    twins.opts[0].catch_up()
    assert not rows.behind


def test_an_interrupt_waits_until_rows_are_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    twins = Twins(MAKE)
    twins.train(30)
    run, interrupts = RowJob.run, 0

    def interrupted(self: RowJob, pool: Any) -> None:
        nonlocal interrupts
        run(self, pool)
        interrupts += 1
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(RowJob, "run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        twins.opts[0].catch_up()
    assert interrupts > 1  # in the first steps there is more than one part
    monkeypatch.undo()
    twins.train(5)
    assert twins.apart() < 1e-13


def test_threads_may_read_at_once() -> None:
    twins = Twins(MAKE, rows=2000)
    twins.train(30, batch=50)
    found: list[Tensor] = []

    def read() -> None:
        found.append(F.embedding(torch.arange(2000), twins.sparse.weight).detach())

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(apart(each, twins.dense.weight.detach()) < 1e-13 for each in found)


def test_a_row_that_is_not_there() -> None:
    twins = Twins(MAKE)
    twins.train(9)
    for index in (50, -1):
        with pytest.raises(IndexError):
            twins.sparse(torch.tensor([0, index]))
    twins.train(9)
    assert twins.apart() < 1e-13


def test_an_optimizer_that_is_gone_leaves_nothing_behind() -> None:
    twins = Twins(MAKE)
    twins.train(20)
    twins.opts = (None, twins.opts[1])
    assert apart(twins.sparse.weight.detach(), twins.dense.weight.detach()) < 1e-13


def test_the_optimizer_that_tracks_last_steps() -> None:
    twins = Twins(MAKE)
    twins.train(20)
    before = twins.opts
    twins.opts = tuple(MAKE(list(embedding.parameters())) for embedding, _ in twins.both)
    twins.opts[0].track(twins.sparse)  # a cell of a notebook, run again
    twins.train(20)
    assert twins.apart() < 1e-13
    twins.opts = before
    with pytest.raises(RuntimeError, match="tracked by another optimizer now"):
        twins.train(1)
    twins.opts[0].track(twins.sparse)
    twins.opts[0].step()
    twins.opts[1].step()
    twins.train(20)


@pytest.mark.filterwarnings("ignore:The .grad attribute")
def test_compiled_models() -> None:
    twins = Twins(MAKE)
    forward = torch.compile(lambda index: 2 * twins.sparse(index), backend="eager")
    twins.train(9)
    index = torch.tensor([3, 30])
    assert apart(forward(index).detach(), 2 * twins.dense(index).detach()) < 1e-13


def sparse(**options: Any) -> nn.Embedding:
    return nn.Embedding(6, 3, sparse=True, **options)


def refused(opt: Any, embedding: Any, match: str, error: type[Exception] = ValueError) -> None:
    with pytest.raises(error, match=match):
        opt.track(embedding)
    if isinstance(embedding, nn.Embedding):
        assert type(embedding.weight) is nn.Parameter


def test_what_cannot_be_tracked_is_told() -> None:
    e = sparse()
    opt = at.Adam(e.parameters())
    refused(opt, nn.Linear(2, 2), "no nn.Embedding or nn.EmbeddingBag with sparse=True")
    refused(opt, nn.Embedding(3, 2), "sparse=True")
    refused(opt, e.weight, "takes modules", TypeError)
    refused(opt, sparse(), "is not a parameter of this optimizer")
    for options, match in (
        ({"average": 0.9}, "average="),
        ({"state_format": "float8"}, "state_format='float8'"),
        ({"semantics": "lazy"}, "semantics='lazy'"),
        ({"offload": True}, "offload=True"),
    ):
        refused(at.Adam(e.parameters(), **options), e, match)
    stepping = at.Adam(e.parameters())
    stepping.step_in_backward()
    refused(stepping, e, "step_in_backward")
    half = sparse(dtype=torch.bfloat16)
    refused(at.Adam(half.parameters()), half, "bfloat16; float32 and float64")
    shared = sparse()
    shared.share_memory()
    refused(at.Adam(shared.parameters()), shared, "shared with other processes")
    meta = sparse(device="meta")
    refused(at.Adam(meta.parameters()), meta, "no values")
    opt.track(e)
    opt.track(e)  # once more is nothing
    with pytest.raises(RuntimeError, match="shared memory"):
        e.share_memory()
    with pytest.raises(ValueError, match="steps by rows"):
        opt.step_in_backward()


@pytest.mark.parametrize(
    "match", ["weight_decay=0.1 is added", "shrinks no faster", "give it a method coast"]
)
def test_what_a_step_cannot_do_is_told_and_changes_nothing(match: str) -> None:
    from torch_support import own

    e = sparse()
    opt: Any = {
        "weight_decay=0.1 is added": functools.partial(at.Adam, weight_decay=0.1),
        "shrinks no faster": functools.partial(at.Adam, betas=(0.9, 0.5)),
        "give it a method coast": own,
    }[match](e.parameters())
    opt.track(e)
    e(torch.tensor([1, 2])).sum().backward()
    before = e.weight.detach().clone()
    with pytest.raises(ValueError, match=match):
        opt.step()
    assert torch.equal(e.weight, before)
    assert not opt.state


def test_a_sparse_gradient_that_nobody_tracks_names_track() -> None:
    for make in (at.Adam, at.AdamW, at.Lion):
        e = sparse()
        opt = make(e.parameters())
        e(torch.tensor([1])).sum().backward()
        with pytest.raises(RuntimeError, match=r"opt\.track\(embedding\)"):
            opt.step()


REPLACEMENTS: dict[str, Callable[[Any, Tensor], Any]] = {
    "a slot": lambda opt, w: opt.state[w].update(exp_avg=torch.zeros(50, 4, dtype=torch.float64)),
    "a parameter's": lambda opt, w: opt.state[w].clear(),
    "all": lambda opt, w: opt.state.clear(),
}


@pytest.mark.parametrize("name", REPLACEMENTS)
def test_state_replaced_while_rows_are_behind_counts_from_then_on(name: str) -> None:
    twins = Twins(MAKE)
    twins.train(9)
    for embedding, opt in twins.both:
        REPLACEMENTS[name](opt, embedding.weight)
    twins.train(9)
    assert twins.apart() < 1e-13


def test_lookups_of_one_forward_pass_leave_each_other_alone() -> None:
    twins, found = Twins(MAKE), []
    twins.train(9)
    for embedding, _ in twins.both:
        each = torch.ones(3, dtype=torch.float64, requires_grad=True)  # its gradient has to do with the rows
        bags = [
            F.embedding_bag(torch.tensor(i), embedding.weight, START, mode="sum", per_sample_weights=each)
            for i in ([1, 2, 33], [4, 47, 41])
        ]
        (bags[0] * bags[1]).sum().backward()
        found.append(each.grad)
    assert apart(found[0], found[1]) < 1e-13


def test_a_shallow_copy_reads_what_its_original_does() -> None:
    twins = Twins(MAKE)
    copies = [copy.copy(twins.sparse.weight), copy.copy(twins.sparse.weight.data)]
    twins.train(9)
    assert all(apart(each.detach(), twins.dense.weight.detach()) < 1e-13 for each in copies)
    assert isinstance(copies[0], nn.Parameter)


def test_transforms_that_wrap_what_meets_a_parameter() -> None:
    twins, x = Twins(MAKE), torch.ones(3, 4, dtype=torch.float64)
    for make in (
        lambda w: torch.vmap(lambda row: F.linear(row, w))(x),
        lambda w: torch.vmap(lambda index: F.embedding(index, w))(EVERY.reshape(5, 10)),
    ):
        twins.train(9)
        assert apart(make(twins.sparse.weight).detach(), make(twins.dense.weight).detach()) < 1e-13


@pytest.mark.filterwarnings("ignore:.*torch.jit")
def test_what_would_read_rows_unseen_is_refused() -> None:
    twins = Twins(MAKE)
    twins.train(9)
    with pytest.raises(RuntimeError, match="cannot be traced"):
        torch.jit.trace(twins.sparse, (EVERY,))
    for x in (twins.sparse, twins.sparse.weight.detach()):
        with pytest.raises(RuntimeError, match="cannot move to shared memory"):
            ForkingPickler.dumps(x)
    assert not twins.sparse.weight.is_shared()


def test_steps_that_are_replayed_do_not_mind_the_default_device() -> None:
    twins = Twins(functools.partial(at.Adamax, lr=0.01))
    twins.train(9)
    with torch.device("meta"):
        twins.opts[0].catch_up()
    assert twins.apart() < 1e-13


def test_numpy_memory_is_up_to_date_after_catch_up() -> None:
    twins = Twins(MAKE)
    memory = twins.sparse.weight.detach().numpy()
    twins.train(9)
    twins.opts[0].catch_up()
    np.testing.assert_allclose(memory, twins.dense.weight.detach().numpy(), atol=1e-13)
