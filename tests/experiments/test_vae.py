import copy
import math

import numpy as np
import pytest
import torch
from torch import distributions

from adamas.experiments.problems import images_vae
from adamas.experiments.problems.images_vae import AutoEncoder
from adamas.experiments.runs.training import Training
from adamas.rules import Adam

SMALL = {"data": "digits", "hidden": 12, "latent": 3}


def noise(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def small(seed: int = 0) -> AutoEncoder:
    images_vae.prepare("digits", 12, 3)
    return images_vae.build(seed, "digits", 12, 3)


def linear(half: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
    """What a half of the network should give, in NumPy's float64."""
    first, bias, last, shift = (p.detach().double().numpy() for p in half.parameters())
    return torch.from_numpy(np.log1p(np.exp(x.double().numpy() @ first.T + bias)) @ last.T + shift)


def test_the_cost_is_the_negative_bound() -> None:
    problem, batch = small(), torch.tensor([3, 1, 4, 15, 9])
    pixels = problem.train[batch].double()
    mean, log_variance = linear(problem.encoder, pixels).chunk(2, dim=1)
    posterior = distributions.Normal(mean, torch.exp(log_variance / 2))
    normal = torch.randn(5, 3, generator=noise(7)).double()
    chances = torch.sigmoid(linear(problem.decoder, mean + posterior.scale * normal))
    likelihood = pixels * chances.log() + (1 - pixels) * (1 - chances).log()
    prior = distributions.Normal(torch.zeros(()).double(), torch.ones(()).double())
    divergence = distributions.kl_divergence(posterior, prior)
    expected = divergence.sum(dim=1) - likelihood.sum(dim=1)
    assert problem.cost(batch, noise(7)).item() == pytest.approx(expected.mean().item(), rel=1e-5)


def test_the_gradient_is_that_of_the_cost_where_the_noise_stays() -> None:
    problem, batch = small(), torch.arange(20)
    wide = AutoEncoder(
        copy.deepcopy(problem.encoder).double(),
        copy.deepcopy(problem.decoder).double(),
        problem.latent,
        problem.train.double(),
        problem.test.double(),
    )
    problem.cost(batch, noise()).backward()
    for i, p in enumerate(problem.parameters):
        direction, step = torch.randn(p.shape, generator=noise(i)).double(), 1e-5
        costs = []
        for sign in (1, -1):
            with torch.no_grad():
                wide.parameters[i].add_(sign * step * direction)
                costs.append(wide.cost(batch, noise()).item())
                wide.parameters[i].sub_(sign * step * direction)
        assert p.grad is not None
        slope = (p.grad.double() * direction).sum().item()
        assert slope == pytest.approx((costs[0] - costs[1]) / (2 * step), rel=1e-3, abs=1e-3)


def test_all_noise_comes_from_its_generator() -> None:
    problem, batch = small(), torch.arange(50)
    state, costs = torch.get_rng_state(), []
    for generator in (noise(0), noise(0), noise(1)):
        costs.append(problem.cost(batch, generator).item())
    assert costs[0] == costs[1] != costs[2]
    assert problem.evaluate() == problem.evaluate()
    assert torch.equal(torch.get_rng_state(), state)


def test_how_much_noise_is_drawn_does_not_depend_on_the_parameters() -> None:
    states = []
    for value in (0.0, 30.0):
        problem, generator = small(), noise()
        with torch.no_grad():
            problem.parameters[0].fill_(value)
        problem.cost(torch.arange(100), generator)
        states.append(generator.get_state())
    assert torch.equal(*states)


def test_the_start_is_the_seeds_and_near_the_cost_of_guessing() -> None:
    one, same, other = (small(seed).evaluate() for seed in (0, 0, 1))
    assert one == same != other
    assert one.keys() == {"train_bound", "test_bound"}
    for bound in one.values():
        assert bound == pytest.approx(64 * math.log(2), rel=0.05)


def test_evaluation_in_chunks_is_that_of_all_at_once() -> None:
    problem = small()
    normal = torch.randn(len(problem.test), 3, generator=noise())
    expected = problem.bounds(problem.train[: len(problem.test)], normal).mean().item()
    assert problem.evaluate()["train_bound"] == pytest.approx(expected, rel=1e-5)


def run(options: dict[str, str | int], lr: float = 1e-2) -> Training:
    data = images_vae.identity(**options)  # type: ignore[arg-type]
    pairs = tuple(sorted(options.items()))
    return Training("images_vae", pairs, data, Adam(lr=lr), "constant", 0.0, 100, 2, seed=0)


def test_training_lowers_the_bound_on_training_and_test_images() -> None:
    outcome = run(dict(SMALL)).execute()
    assert outcome.epochs == run(dict(SMALL)).execute().epochs
    for name in ("train_bound", "test_bound"):
        assert (outcome.epochs[-1][name] or math.inf) < 0.8 * (outcome.epochs[0][name] or 0)


def test_a_bound_beyond_float32_is_divergence() -> None:
    assert run(dict(SMALL), lr=1e4).execute().status == "diverged"


@pytest.mark.realdata
def test_the_papers_network_learns_mnist() -> None:
    problem = images_vae.build(0, "mnist", 500, 50)
    assert sum(p.numel() for p in problem.parameters) == 785 * 500 + 501 * 100 + 51 * 500 + 501 * 784
    assert problem.examples == 60_000
    assert problem.cost(torch.arange(100), noise()).item() == pytest.approx(784 * math.log(2), rel=0.1)
