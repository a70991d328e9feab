"""`adamas.convert`: training that goes from one library to the other is training in one of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from optax_support import assert_trees_equal, train
from rule_cases import CASES, FORMS, gradients, has_sums, parameters, run_reference, state_names

import adamas
import adamas.optax
import adamas.torch
from adamas.backends import Envelope
from adamas.rules import SGD, Adam, Rule

torch = pytest.importorskip("torch")
jax = pytest.importorskip("jax")
optax = pytest.importorskip("optax")
jnp = jax.numpy

from adamas.torch import AdamW, NAdam, Optimizer  # noqa: E402 - after the skips

STEPS, N = 10, 12


def steps(optimizer: Any, params: list[Any], grads: np.ndarray) -> None:
    """A step of torch with each gradient, the same for every parameter."""
    for g in grads:
        for p in params:
            p.grad = torch.tensor(g, dtype=p.dtype).reshape(p.shape)
        optimizer.step()


def there_and_back(rule: Rule, dtype: str) -> tuple[Any, list[Any]]:
    """A parameter, and the slots, after training in torch, in JAX, and in torch again."""
    grads = gradients(3 * STEPS, N).astype(dtype)
    p = torch.tensor(parameters(N), dtype=getattr(torch, dtype), requires_grad=True)
    optimizer = Optimizer([("w", p)], rule)
    steps(optimizer, [p], grads[:STEPS])
    transformation = adamas.optax.from_rule(rule)
    params = {"w": jnp.asarray(p.detach().numpy())}
    state = adamas.convert(optimizer, like=transformation.init(params))
    params, state = train(transformation, params, {"w": jnp.asarray(grads[STEPS : 2 * STEPS])}, state)
    with torch.no_grad():
        p.copy_(torch.tensor(np.asarray(params["w"])))
    optimizer.load_state_dict(adamas.convert(state, like=optimizer))
    steps(optimizer, [p], grads[2 * STEPS :])
    return p.detach().numpy(), [optimizer.state[p][slot].numpy() for slot in state_names(rule)]


# Rules of which each kernel is one, and all with sums.
EVERY = [name for name, rule in CASES.items() if name in FORMS or has_sums(rule)]
# Those with 1 - β^t compile for a second each.
TIMED = ("NAdam", "RAdam", "AMSGrad", "AdaBelief", "AdaMax")


@pytest.mark.parametrize("name", [pytest.param(x, marks=[pytest.mark.slow] * (x in TIMED)) for x in EVERY])
def test_there_and_back_in_float64_is_one_run(name: str) -> None:
    rule = CASES[name]
    with jax.enable_x64(True):
        p, slots = there_and_back(rule, "float64")
    expected = run_reference(rule, parameters(N), gradients(3 * STEPS, N))[-1]
    # Torch's counters, and with them what a rule carries, are float32.
    limit = 1e-6 if rule.carried else 1e-12
    for a, b in zip([p, *slots], expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=limit, atol=limit)


def test_there_and_back_in_float32_is_one_run_to_some_roundings() -> None:
    p, _ = there_and_back(Adam(), "float32")
    expected = run_reference(Adam(), parameters(N), gradients(3 * STEPS, N))[-1][0]
    np.testing.assert_allclose(p, expected, rtol=0, atol=4 * np.spacing(np.float32(np.abs(expected).max())))


class Several:
    """Two named parameters in torch after three steps, and their like in JAX."""

    def __init__(self, make: Any = torch.optim.Adam, steps: int = 3, **options: Any) -> None:
        self.params = [
            torch.zeros(shape, dtype=torch.float32, requires_grad=True) for shape in ((3, 4), (12,))
        ]
        self.optimizer = make(list(zip(["a.w", "b"], self.params, strict=True)), **options)
        self.step(steps)
        self.tree = {"a": {"w": jnp.zeros((3, 4))}, "b": jnp.zeros(12)}

    def step(self, count: int) -> None:
        """Steps with given gradients, sparse ones where the optimizer takes no others."""
        for g in gradients(count, N):
            for p in self.params:
                dense = torch.tensor(g, dtype=p.dtype).reshape(p.shape)
                sparse = isinstance(self.optimizer, torch.optim.SparseAdam)
                p.grad = dense.to_sparse(1) if sparse else dense
            self.optimizer.step()


def test_names_and_numbers_of_torch_become_the_rules_and_back() -> None:
    one = Several()
    found = adamas.convert(one.optimizer)
    assert list(found) == ["a.w", "b"]
    assert found["b"].t == 3
    assert set(found["b"].slots) == {"m", "v"}
    assert found["b"].average is None
    np.testing.assert_array_equal(
        found["a.w"].slots["m"], one.optimizer.state[one.params[0]]["exp_avg"].numpy()
    )
    back = adamas.convert(found, like=one.optimizer)
    for index, state in one.optimizer.state_dict()["state"].items():
        assert set(back["state"][index]) == set(state)
        for key, x in state.items():
            assert torch.equal(back["state"][index][key], x)


UPSTREAM = {
    name: cls.upstream
    for name in adamas.torch.__all__
    if getattr(cls := getattr(adamas.torch, name), "upstream", None) and name == cls.upstream.__name__
}


@pytest.mark.parametrize("name", UPSTREAM)
def test_every_optimizer_of_torch_is_read_and_written(name: str) -> None:
    """A step after its state went through NumPy is the step that it would have taken."""
    one, others = Several(UPSTREAM[name]), []
    found = adamas.convert(one.optimizer)
    assert_states_equal(adamas.convert(one.optimizer.state_dict()), found)
    for make in (UPSTREAM[name], getattr(adamas.torch, name)):
        other = Several(make, steps=0)
        with torch.no_grad():
            for p, q in zip(other.params, one.params, strict=True):
                p.copy_(q)
        other.optimizer.load_state_dict(adamas.convert(found, like=other.optimizer))
        assert_states_equal(adamas.convert(other.optimizer), found)
        others.append(other)
    for each in (one, *others):
        each.step(1)
    for other in others:
        for p, q in zip(other.params, one.params, strict=True):
            np.testing.assert_allclose(p.detach(), q.detach(), rtol=1e-6, atol=1e-7)


def test_a_state_dict_says_the_same_as_its_optimizer() -> None:
    for one in (Several(), Several(NAdam), Several(torch.optim.SGD, momentum=0.9)):
        assert_states_equal(adamas.convert(one.optimizer.state_dict()), adamas.convert(one.optimizer))


def assert_states_equal(one: Any, other: Any) -> None:
    assert list(one) == list(other)
    for name in one:
        assert one[name].t == other[name].t
        assert one[name].carried == other[name].carried
        assert_trees_equal(one[name].slots, other[name].slots)
        assert_trees_equal(one[name].average, other[name].average)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda tx: optax.chain(optax.clip_by_global_norm(1.0), tx),
        lambda tx: optax.multi_transform({"x": tx, "y": adamas.optax.adam()}, {"a": {"w": "x"}, "b": "y"}),
        lambda tx: optax.MultiSteps(tx, 2),
        lambda tx: optax.inject_hyperparams(adamas.optax.adam)(lr=1e-3),
        lambda tx: optax.adam(1e-3),
    ],
    ids=["chain", "multi_transform", "MultiSteps", "inject_hyperparams", "optax's own"],
)
def test_it_is_found_inside_other_states(wrap: Any) -> None:
    one = Several()
    like = wrap(adamas.optax.adam()).init(one.tree)
    found = adamas.convert(one.optimizer, like=like)
    assert jax.tree.structure(found) == jax.tree.structure(like)
    assert [x.dtype for x in jax.tree.leaves(found)] == [x.dtype for x in jax.tree.leaves(like)]
    assert_states_equal(adamas.convert(found), adamas.convert(one.optimizer))


def test_the_average_goes_along_where_both_keep_one() -> None:
    one = Several(AdamW, average=0.9)
    like = adamas.optax.adamw(average=0.9).init(one.tree)
    found = adamas.convert(one.optimizer, like=like)
    average = one.optimizer.state[one.params[1]]["average"].numpy()
    np.testing.assert_array_equal(found.average["b"], average)
    loaded = adamas.convert(found, like=one.optimizer)
    np.testing.assert_array_equal(loaded["state"][1]["average"].numpy(), average)
    assert adamas.convert(found, like=adamas.optax.adamw().init(one.tree)).average is None


def test_state_in_few_bits_is_widened() -> None:
    params = [torch.zeros(70, 64, requires_grad=True)]
    optimizer = AdamW([("w", params[0])], state_format="float8")
    steps(optimizer, params, gradients(2, 70 * 64))
    found = adamas.convert(optimizer)["w"]
    expected = optimizer.torch_state_dict()["state"][0]["exp_avg"].numpy()
    np.testing.assert_array_equal(found.slots["m"], expected)
    with pytest.raises(ValueError, match="pass the optimizer itself"):
        adamas.convert(optimizer.state_dict())


def test_before_the_first_step_there_is_nothing() -> None:
    one = Several()
    fresh = torch.optim.Adam(one.params)
    assert adamas.convert(fresh) == {}
    start = adamas.optax.adam().init(one.tree)
    assert adamas.convert(start, like=one.optimizer)["state"] == {}


def test_nothing_given_is_changed_and_nothing_is_shared() -> None:
    one = Several()
    found = adamas.convert(one.optimizer)
    kept = found["b"].slots["m"].copy()
    loaded = adamas.convert(found, like=one.optimizer)
    one.optimizer.load_state_dict(loaded)
    steps(one.optimizer, one.params, gradients(1, N))
    np.testing.assert_array_equal(found["b"].slots["m"], kept)


# Mistakes.

WRONG: dict[str, tuple[Any, type[Exception], str]] = {
    "names": (lambda one: {"a": jnp.zeros((3, 4)), "b": jnp.zeros(12)}, ValueError, "'a'.*'a.w'.*names="),
    "more": (lambda one: {**one.tree, "c": jnp.zeros(2)}, ValueError, "no state for the parameter 'c'"),
    "fewer": (lambda one: {"b": jnp.zeros(12)}, ValueError, "no parameter 'a.w'"),
    "shape": (lambda one: {**one.tree, "b": jnp.zeros((12, 1))}, ValueError, r"'m' of 'b' has shape \(12,\)"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_another_layout_is_one_clear_error(kind: str) -> None:
    tree, error, message = WRONG[kind]
    one = Several()
    with pytest.raises(error, match=message):
        adamas.convert(one.optimizer, like=adamas.optax.adam().init(tree(one)))


def test_another_rule_is_one_clear_error() -> None:
    one = Several()
    with pytest.raises(ValueError, match=r"another rule's: it has 'm', 'v', and `like` 'b'"):
        adamas.convert(one.optimizer, like=adamas.optax.from_rule(SGD(momentum=0.9)).init(one.tree))
    with pytest.raises(ValueError, match="keeps an average"):
        adamas.convert(one.optimizer, like=adamas.optax.adam(average=0.9).init(one.tree))


def test_other_names_are_given() -> None:
    one = Several()
    like = adamas.optax.adam().init([jnp.zeros((3, 4)), jnp.zeros(12)])
    found = adamas.convert(one.optimizer, like=like, names={"a.w": "0", "b": "1"})
    assert_states_equal(
        adamas.convert(found, names=["a.w", "b"].__getitem__ if False else lambda n: ["a.w", "b"][int(n)]),
        adamas.convert(one.optimizer),
    )
    with pytest.raises(ValueError, match="no entry for the parameter 'b'"):
        adamas.convert(one.optimizer, like=like, names={"a.w": "0"})


def test_parameters_that_took_different_steps_need_a_state_each() -> None:
    one = Several()
    one.params[0].grad = torch.ones(3, 4)
    one.params[1].grad = None
    one.optimizer.step()
    with pytest.raises(ValueError, match=r"the same number of steps, and these \[3, 4\].*multi_transform"):
        adamas.convert(one.optimizer, like=adamas.optax.adam().init(one.tree))


@pytest.mark.parametrize("value", [None, 3, {"a": 1}, Adam(), (1, 2)], ids=repr)
def test_what_holds_no_state_is_refused(value: Any) -> None:
    with pytest.raises(TypeError, match="state must be a torch optimizer"):
        adamas.convert(value)


def test_a_decay_does_not_matter_and_training_with_it_goes_on() -> None:
    """Torch's AdamW, from torch.optim to JAX."""
    grads = gradients(2 * STEPS, N)
    p = torch.tensor(parameters(N), requires_grad=True)
    optimizer = torch.optim.AdamW([("w", p)], weight_decay=0.1)
    steps(optimizer, [p], grads[:STEPS])
    with jax.enable_x64(True):
        transformation = adamas.optax.adamw(weight_decay=0.1)
        params = {"w": jnp.asarray(p.detach().numpy())}
        state = adamas.convert(optimizer, like=transformation.init(params))
        moved, _ = train(transformation, params, {"w": jnp.asarray(grads[STEPS:])}, state)
    expected = run_reference(Adam(), parameters(N), grads, Envelope(decay_factor=1 - 1e-4))[-1][0]
    np.testing.assert_allclose(moved["w"], expected, rtol=1e-12, atol=1e-13)
