"""Rules with sums over a tensor, a row or a group: the reference's steps, bits, habits, refusals."""

from __future__ import annotations

import copy
import io
import pickle
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import process_support
import pytest
import torch
from rule_cases import CASES, state_names
from sums_support import SCOPES, SUMS, gradients, in_shards, parameters, step
from torch_support import randn

import adamas.torch
from adamas.backends import host_carry, reference
from adamas.rules._reduction import SCOPES as SCOPES_THAT_THERE_ARE
from adamas.torch import Optimizer

every_rule = pytest.mark.parametrize("name", SUMS)
every_scope = pytest.mark.parametrize("name", SCOPES.values(), ids=SCOPES)
every_backend = pytest.mark.parametrize("backend", ["numba", "reference"])


def whole(name: str, tensors: Any) -> list[np.ndarray]:
    """The tensors as the reference has them: a group is one of them."""
    arrays = [x.detach().double().numpy() for x in tensors]
    grouped = SUMS[name].form().reduction.scope == "group"  # type: ignore[union-attr]
    return [np.concatenate([x.ravel() for x in arrays])] if grouped else arrays


def judged(name: str, params: list[Any], steps: int) -> tuple[list[np.ndarray], list[tuple[Any, ...]]]:
    """The parameters and their state after steps of the float64 reference."""
    rule, p, carried = SUMS[name], whole(name, params), ()
    states = [reference.init(rule, x) for x in p]
    for t in range(steps):
        carried = host_carry(rule, t + 1, *carried)
        for k, g in enumerate(whole(name, gradients(params, t))):
            p[k], *states[k] = reference.step(rule, t + 1, p[k], g, states[k], carried=carried)  # type: ignore[call-overload]
    return p, states


@every_rule
@every_backend
def test_steps_are_those_of_the_reference(name: str, backend: str) -> None:
    params = parameters(torch.float64)
    expected, states = judged(name, params, 5)
    opt = Optimizer(params, SUMS[name], backend=backend)
    step(opt, params, *range(5))
    assert opt.backend == backend
    for p, wanted in zip(whole(name, params), expected, strict=True):
        np.testing.assert_allclose(p, wanted, rtol=1e-9, atol=1e-11)
    kept = state_names(SUMS[name])[len(SUMS[name].form().slots) :]
    for key, wanted in zip(kept, states[0][len(states[0]) - len(kept) :], strict=True):
        found = opt.state[params[0]][key].numpy()
        np.testing.assert_allclose(found, np.asarray(wanted).reshape(-1), rtol=1e-9)


@every_rule
def test_both_backends_agree_in_float32(name: str) -> None:
    found = []
    for backend in ("numba", "reference"):
        params = parameters()
        step(Optimizer(params, SUMS[name], backend=backend), params, *range(4))
        found.append([p.detach() for p in params])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


@every_scope
@pytest.mark.parametrize("chosen", [None, "bfloat16", "float8"])
def test_the_number_of_threads_changes_no_bit(name: str, chosen: str | None) -> None:
    if SCOPES.get("group") == name and chosen is not None:
        pytest.skip("its difference from the start needs 32 bits")
    found, threads = [], torch.get_num_threads()
    try:
        for n in (1, 2, 3):
            torch.set_num_threads(n)
            params = parameters(torch.bfloat16)
            step(Optimizer(params, SUMS[name], state_format=chosen), params, 0, 1, 2)
            found.append(params)
    finally:
        torch.set_num_threads(threads)
    for others in found[1:]:
        assert all(torch.equal(p, q) for p, q in zip(found[0], others, strict=True))


@every_scope
@pytest.mark.parametrize("options", [{}, {"average": 0.9}, {"offload": True}, {"clip_norm": 0.5}], ids=str)
def test_columns_of_a_table_beside_those_that_are_measured(name: str, options: dict[str, Any]) -> None:
    """With an average, or a copy of the parameters, the pass that measures reads the same as without."""
    found = []
    for chosen in ({"clip_norm": options.get("clip_norm")}, options):
        params = parameters()
        step(Optimizer(params, SUMS[name], **chosen), params, 0, 1, 2)
        found.append(params)
    assert all(torch.equal(p, q) for p, q in zip(*found, strict=True))


@pytest.mark.parametrize("name", ["LAMB", "CautiousLion"])
@pytest.mark.parametrize("chosen", ["bfloat16", "float8", "float4"])
def test_what_is_measured_is_what_is_stored(name: str, chosen: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The factors of a step from state in few bits are those of the values that the bits stand for."""
    if (name, chosen) == ("CautiousLion", "float4"):
        pytest.skip("float4 is refused for a rule that divides by no root")
    params, rule = parameters(shapes=((70, 130), (5000,))), SUMS[name]
    opt = Optimizer(params, rule, state_format=chosen)
    step(opt, params, 0, 1, 2)
    wide = opt.torch_state_dict()["state"]
    states = [[np.asarray(wide[k][key].double()) for key in rule.form().slots] for k in range(len(params))]
    factors: list[np.ndarray] = []
    (launcher,) = opt._plan._launchers  # type: ignore[union-attr]
    kept_as_they_were = launcher.stage_factors
    monkeypatch.setattr(launcher, "stage_factors", lambda x: (factors.append(x), kept_as_they_were(x)))
    before = [p.detach().double().numpy() for p in params]
    step(opt, params, 3)
    for k, g in enumerate(gradients(params, 3)):
        scalars = rule.scalars(4)
        reduction = rule.form().reduction
        assert reduction is not None
        terms = reduction.measure(before[k], g.double().numpy(), *states[k], *scalars)
        sums = [np.sum(np.zeros_like(before[k]) + term) for term in terms]
        np.testing.assert_allclose(factors[0][k], reduction.factors(*sums, *scalars), rtol=1e-4)


@every_rule
def test_training_goes_on_with_the_same_bits(name: str) -> None:
    """From a saved state_dict, a deep copy, and a pickle."""
    whole_run = parameters(torch.bfloat16)
    step(Optimizer(whole_run, SUMS[name]), whole_run, *range(5))
    params = parameters(torch.bfloat16)
    opt = Optimizer(params, SUMS[name])
    step(opt, params, 0, 1, 2)
    saved = io.BytesIO()
    torch.save(opt.state_dict(), saved)
    others = [torch.nn.Parameter(p.detach().clone()) for p in params]
    loaded = Optimizer(others, SUMS[name])
    saved.seek(0)
    loaded.load_state_dict(torch.load(saved, weights_only=True))
    copies = [(others, loaded), copy.deepcopy((params, opt)), pickle.loads(pickle.dumps((params, opt)))]
    for _, other in copies:
        mine = other.param_groups[0]["params"]
        step(other, mine, 3, 4)
        assert all(torch.equal(p, q) for p, q in zip(whole_run, mine, strict=True))


@every_rule
def test_a_skipped_step_leaves_what_is_kept(name: str) -> None:
    params = parameters()
    opt = Optimizer(params, SUMS[name], skip_nonfinite=True)
    step(opt, params, 0, 1)
    before = copy.deepcopy((list(params), dict(opt.state_dict()["state"])))
    for p in params:
        p.grad = torch.full_like(p, float("nan"))
    opt.step()
    assert opt.last_step.skipped
    after = list(params), opt.state_dict()["state"]
    assert all(torch.equal(p, q) for p, q in zip(before[0], after[0], strict=True))
    for k, state in before[1].items():
        assert all(torch.equal(x, after[1][k][key]) for key, x in state.items())


def test_a_group_is_summed_over_by_itself() -> None:
    """And over those of its parameters alone that have a gradient."""
    params = parameters(torch.float64, ((3, 4), (5,), (6,)))
    opt = Optimizer([{"params": params[:2]}, {"params": params[2:]}], SUMS["DoG"])
    step(opt, params, 0)
    alone = parameters(torch.float64, ((3, 4), (5,), (6,)))
    for part, grads in ((alone[:2], gradients(alone, 0)[:2]), (alone[2:], gradients(alone, 0)[2:])):
        other = Optimizer(part, SUMS["DoG"])
        for p, g in zip(part, grads, strict=True):
            p.grad = g
        other.step()
    assert all(torch.equal(p, q) for p, q in zip(params, alone, strict=True))
    expected = [opt.state[p]["seen"].item() for p in params]
    params[0].grad = None
    opt.step()
    assert opt.state[params[0]]["seen"].item() == opt.state[params[1]]["seen"].item()  # one for the group
    grown = opt.state[params[1]]["seen"].item() - expected[1]
    assert grown == pytest.approx(float((params[1].grad ** 2).sum()), rel=1e-9)


@pytest.mark.parametrize("name", [n for n in SUMS if SUMS[n].form().reduction.scope == "group"])  # type: ignore[union-attr]
def test_a_parameter_that_joins_a_group_later_takes_what_it_has_kept(name: str) -> None:
    params = parameters(torch.float64, ((3, 4), (5,)))
    opt = Optimizer(params, SUMS[name])
    for t in range(4):
        params[0].grad = gradients(params, t)[0]
        opt.step()
    step(opt, params, 4, 5)
    for key in SUMS[name].form().reduction.kept:  # type: ignore[union-attr]
        assert torch.equal(*(opt.state[p][key] for p in params))
    alone = parameters(torch.float64, ((3, 4), (5,)))[:1]
    other = Optimizer(alone, SUMS[name])
    for t in range(4):
        alone[0].grad = gradients(params, t)[0]
        other.step()
    assert opt.state[params[0]]["step"] == 6
    assert all(
        abs(opt.state[params[1]][key]).item() >= abs(other.state[alone[0]][key]).item()
        for key in SUMS[name].form().reduction.kept  # type: ignore[union-attr]
        if key != "r"
    )


def test_groups_of_one_optimizer_may_measure_or_not() -> None:
    params = parameters(torch.float64, ((3, 4), (3, 4)))
    opt = adamas.torch.MARS([{"params": params[:1]}, {"params": params[1:], "clip": False}])
    step(opt, params, 0)
    opt.param_groups[0]["clip"] = False
    step(opt, params, 1)
    assert opt.backend == "numba"


def test_parameters_that_have_taken_other_numbers_of_steps() -> None:
    params = parameters(torch.float64, ((3, 4), (5,)))
    opt = Optimizer(params, SUMS["NovoGrad"])
    params[0].grad = gradients(params, 0)[0]
    opt.step()
    step(opt, params, 1)
    alone = parameters(torch.float64, ((3, 4), (5,)))[1:]
    other = Optimizer(alone, SUMS["NovoGrad"])
    alone[0].grad = gradients(params, 1)[1]
    other.step()
    assert torch.equal(alone[0], params[1])


def test_rows_of_another_layout() -> None:
    """Channels last keeps rows together; a transposed matrix does not, and says so once."""
    rule = SUMS["AdamMini"]
    plain = torch.nn.Parameter(randn(8, 4, 3, 3))
    last = torch.nn.Parameter(plain.detach().clone(memory_format=torch.channels_last))
    turned = torch.nn.Parameter(randn(6, 9).t())
    straight = torch.nn.Parameter(turned.detach().clone(memory_format=torch.contiguous_format))
    opts = [Optimizer([p], rule) for p in (plain, last, straight)]
    slow = Optimizer([turned], rule)
    with pytest.warns(adamas.torch.SlowPathWarning, match="do not lie one after the other"):
        step(slow, [turned], 0)
    for t in range(3):
        for opt, p in zip(opts, (plain, last, straight), strict=True):
            p.grad = randn(*p.shape, seed=t)
            opt.step()
    torch.testing.assert_close(plain, last, rtol=0, atol=1e-6)
    assert opts[1].backend == "numba"
    assert slow.backend == "reference"


@pytest.mark.slow
def test_shards_are_summed_over(tmp_path: Path) -> None:
    """Two processes; sums over rows are refused there, whichever way the rows are cut."""
    process_support.in_processes(in_shards, str(tmp_path / "group"), str(tmp_path / "found"))
    for rank in range(2):
        found = torch.load(tmp_path / f"found.{rank}", weights_only=True)
        for case, value in found.items():
            name = case.partition(" ")[0]
            if name in SUMS and SUMS[name].form().reduction.scope == "row":  # type: ignore[union-attr]
                assert "sums over rows, and a DTensor may have parts of them" in value
            else:
                assert value < 1e-12, case


@every_scope
def test_what_sums_cannot_be_had_for(name: str) -> None:
    rule = SUMS[name]
    params = parameters()
    with pytest.raises(ValueError, match="cannot be differentiated"):
        step(Optimizer(params, rule, differentiable=True), params, 0)
    embedding = torch.nn.Embedding(20, 4, sparse=True)
    lazy = Optimizer(embedding.parameters(), rule, semantics="lazy")
    embedding(torch.tensor([1, 2])).sum().backward()
    with pytest.raises(ValueError, match="needs sums over whole tensors"):
        lazy.step()
    params = parameters()
    opt = Optimizer(params, rule)
    if rule.form().reduction.scope == "group":  # type: ignore[union-attr]
        with pytest.raises(ValueError, match="needs sums over all gradients of a group"):
            opt.step_in_backward()
        return
    other = parameters()
    with opt.step_in_backward():
        sum((p * g).sum() for p, g in zip(params, gradients(params, 0), strict=True)).backward()
        opt.step()
    step(Optimizer(other, rule), other, 0)
    assert all(torch.equal(p, q) for p, q in zip(params, other, strict=True))


@every_rule
def test_kept_values_of_another_parameter_are_refused(name: str) -> None:
    kept = state_names(SUMS[name])[len(SUMS[name].form().slots) :]
    if not kept:
        pytest.skip("it keeps nothing")
    params = parameters()
    opt = Optimizer(params, SUMS[name])
    step(opt, params, 0)
    opt.state[params[0]][kept[0]] = torch.zeros(2)
    before = [p.detach().clone() for p in params]
    with pytest.raises(ValueError, match=f"the state {kept[0]!r} of a parameter of shape .70, 1300. is not"):
        step(opt, params, 1)
    assert all(torch.equal(p, q) for p, q in zip(params, before, strict=True))


def test_meta_tensors_step_without_values() -> None:
    params = [torch.nn.Parameter(torch.empty(3, 4, device="meta"))]
    params[0].grad = torch.empty(3, 4, device="meta")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        Optimizer(params, SUMS["LAMB"]).step()


def test_every_scope_has_a_rule() -> None:
    assert set(SCOPES) == set(SCOPES_THAT_THERE_ARE)


def test_memory_counts_what_is_kept_and_measured() -> None:
    shapes = {"a": torch.empty(6, 8, device="meta"), "b": torch.empty(5, device="meta")}
    plain = adamas.torch.memory(shapes, lambda p: Optimizer(p, CASES["Signum"]))
    found = adamas.torch.memory(shapes, lambda p: Optimizer(p, CASES["AdamMini"]))
    assert found.state == {"m": plain.state["m"], "v": 4 * (6 + 1)}
    assert found.moved == plain.moved + 2 * 4 * 7 + 3 * 4 * 53
