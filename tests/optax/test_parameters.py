"""Parameters of every kind: complex, scalars, empty trees, averages; and a network of flax."""

from __future__ import annotations

import numpy as np
import pytest
from optax_support import state_of, train
from rule_cases import CASES, gradients, parameters

import adamas.optax

jax = pytest.importorskip("jax")
optax = pytest.importorskip("optax")
jnp = jax.numpy

N = 8


@pytest.mark.parametrize("name", ["AMSGrad", "Adagrad-decay", "SGD-nesterov", "Lion"])
def test_complex_parameters_are_pairs_of_reals_as_in_torch(name: str) -> None:
    torch = pytest.importorskip("torch")
    from adamas.torch import Optimizer

    rule, steps = CASES[name], 5
    start, grads = (x[0::2] + 1j * x[1::2] for x in (parameters(2 * N), gradients(2 * steps, N)))
    p = torch.tensor(start, requires_grad=True)
    optimizer = Optimizer([p], rule)
    for g in grads:
        p.grad = torch.tensor(g)
        optimizer.step()
    with jax.enable_x64(True):
        moved, state = train(adamas.optax.from_rule(rule), jnp.asarray(start), jnp.asarray(grads))
    np.testing.assert_allclose(moved, p.detach().numpy(), rtol=1e-12, atol=1e-14)
    for slot, x in state.slots.items():
        np.testing.assert_allclose(x, optimizer.state[p][slot].numpy(), rtol=1e-12, atol=1e-14)


def test_a_tree_without_leaves() -> None:
    transformation = adamas.optax.adamw(average=0.9)
    updates, state = transformation.update({}, transformation.init({}), {})
    assert updates == {}
    assert int(state.count) == 1


@pytest.mark.parametrize(
    "start", [2.0, np.float32(2.0), np.float64(2.0)], ids=["float", "float32", "float64"]
)
def test_numbers_are_parameters_too(start: object) -> None:
    transformation = adamas.optax.sgd(0.5, momentum=0.9)
    updates, state = transformation.update(1.0, transformation.init(start), start)
    assert float(optax.apply_updates(start, updates)) == 1.5
    assert float(state.slots["b"]) == 1.0


def test_the_average_is_that_of_the_parameters_after_each_step() -> None:
    with jax.enable_x64(True):
        p, grads = jnp.asarray(parameters(N)), jnp.asarray(gradients(4, N))
        iterates = [train(adamas.optax.sgd(0.1), p, grads[: k + 1])[0] for k in range(4)]
        transformation = optax.chain(adamas.optax.sgd(0.1, average=0.75))
        _, state = train(transformation, p, grads)
    weights = 0.75 ** np.arange(3, -1, -1)
    np.testing.assert_allclose(
        state_of(state, "average"), np.tensordot(weights / weights.sum(), iterates, 1), rtol=1e-12
    )


def test_a_step_past_the_last_number_of_32_bits() -> None:
    transformation = adamas.optax.adam(0.5)
    state = transformation.init(jnp.ones(2))._replace(count=jnp.int32(2**31 - 1))
    updates, state = transformation.update(jnp.ones(2), state)
    assert int(state.count) == 2**31 - 1
    # m = .1 g, v = .001 g², and no correction is left.
    np.testing.assert_allclose(updates, -0.5 * 0.1 / 0.001**0.5, rtol=1e-5)


def test_a_flax_network_learns_and_resumes() -> None:
    nnx = pytest.importorskip("flax.nnx")
    random = np.random.default_rng(0)
    x = jnp.asarray(random.standard_normal((64, 4)), jnp.float32)
    y = jnp.sin(x.sum(1, keepdims=True))

    class Network(nnx.Module):
        def __init__(self, rngs: object) -> None:
            self.first, self.second = nnx.Linear(4, 16, rngs=rngs), nnx.Linear(16, 1, rngs=rngs)

        def __call__(self, x: object) -> object:
            return self.second(jax.nn.tanh(self.first(x)))

    def loss_of(model: object) -> object:
        return ((model(x) - y) ** 2).mean()

    @nnx.jit
    def step(model: object, optimizer: object) -> object:
        loss, grads = nnx.value_and_grad(loss_of)(model)
        optimizer.update(model, grads)
        return loss

    def trained(transformation: object) -> tuple[list[float], object]:
        model = Network(nnx.Rngs(0))
        optimizer = nnx.Optimizer(model, transformation, wrt=nnx.Param)
        return [float(step(model, optimizer)) for _ in range(60)], optimizer

    losses, optimizer = trained(adamas.optax.adamw(lr=1e-2, weight_decay=1e-4))
    expected, _ = trained(optax.adamw(1e-2, weight_decay=1e-4))
    assert losses[-1] < losses[0] / 5
    np.testing.assert_allclose(losses, expected, rtol=1e-3)
    # Its state is found by `convert`, by the paths of the parameters.
    states = adamas.convert(nnx.as_pure(optimizer.opt_state))
    assert set(states) == {f"{layer}.{kind}" for layer in ("first", "second") for kind in ("kernel", "bias")}
    assert states["first.kernel"].t == 60
