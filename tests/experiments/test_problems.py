import math

import numpy as np
import pytest
import torch
from scipy import sparse

from adamas.experiments import ExperimentError, datasets, problems
from adamas.experiments.problems import Option, Problem, images_cnn, text_transformer
from adamas.experiments.problems._network import dropped
from adamas.experiments.problems._softmax import Dense, Sparse, softmax_regression
from adamas.experiments.runs.training import Training
from adamas.rules import Adam

PROBLEMS: list[tuple[str, dict[str, Option], float]] = [
    ("images_softmax", {"data": "digits"}, math.log(10)),
    ("words_softmax", {"data": "zipf", "dropout": 0.5}, math.log(2)),
]
TRANSFORMER: dict[str, Option] = {
    "data": "babble",
    "characters": 2_000,
    "context": 20,
    "width": 16,
    "layers": 2,
    "heads": 2,
}
CNN: dict[str, Option] = {
    "data": "photos",
    "count": 400,
    "channels": 4,
    "units": 12,
    "dropout_input": 0.0,
    "dropout_units": 0.0,
}
NOISY: dict[str, Option] = {**CNN, "dropout_input": 0.2, "dropout_units": 0.5}
NETWORKS: list[tuple[str, dict[str, Option], float]] = [
    ("images_cnn", CNN, math.log(10)),
    ("images_mlp", {"data": "digits", "width": 12}, math.log(10)),
    ("images_mlp", {"data": "digits", "width": 12, "count": 400}, math.log(10)),
    ("text_transformer", TRANSFORMER, math.log(96)),
]


def noise(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def build(name: str, options: dict[str, Option], seed: int = 0) -> Problem:
    problem = problems.load(name)
    problem.prepare(**options)
    assert problem.identity(**options) == problem.identity(**options) != ""
    return problem.build(seed, **options)


@pytest.mark.parametrize(("name", "options", "start"), PROBLEMS)
def test_a_problem_starts_at_the_cost_of_guessing(
    name: str, options: dict[str, Option], start: float
) -> None:
    problem = build(name, options)
    batch = torch.arange(problem.examples)
    assert problem.cost(batch, noise()).item() == pytest.approx(start, rel=1e-5)
    measured = problem.evaluate()
    assert measured["train_nll"] == pytest.approx(start, rel=1e-5)
    assert measured["test_nll"] == pytest.approx(start, rel=1e-5)


@pytest.mark.parametrize(("name", "options", "start"), NETWORKS)
def test_a_network_starts_near_the_cost_of_guessing_where_its_seed_says(
    name: str, options: dict[str, Option], start: float
) -> None:
    state = torch.get_rng_state()
    one, same, other = (build(name, options, seed) for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), state)
    assert one.evaluate() == same.evaluate() != other.evaluate()
    for measure in ("train_nll", "test_nll"):
        assert one.evaluate()[measure] == pytest.approx(start, rel=0.1)


@pytest.mark.parametrize(("name", "options", "start"), NETWORKS)
def test_a_network_is_measured_in_chunks_as_it_is_at_once(
    name: str, options: dict[str, Option], start: float
) -> None:
    problem = build(name, options)
    count = min(len(problem.test.targets), problem.examples)  # type: ignore[attr-defined]
    cost = problem.cost(torch.arange(count), noise()).item()
    assert problem.evaluate()["train_nll"] == pytest.approx(cost, rel=1e-5)


def test_the_transformer_sees_no_later_character() -> None:
    module = text_transformer.Transformer(context=20, width=16, layers=2, heads=2)
    window = torch.arange(20)[None]
    changed = window.clone()
    changed[0, 12] = 90
    differs = (module(window) != module(changed)).any(dim=2)[0]
    assert differs.tolist() == [False] * 12 + [True] * 8


def test_the_transformers_targets_are_the_next_characters() -> None:
    problem = text_transformer.build(0, **TRANSFORMER)  # type: ignore[arg-type]
    text = torch.from_numpy(datasets.text("babble").load()).long()
    assert problem.examples == 100
    assert torch.equal(problem.train.inputs.flatten(), text[:2000])
    assert torch.equal(problem.train.targets.flatten(), text[1:2001])


def test_a_text_too_short_is_refused() -> None:
    with pytest.raises(ExperimentError, match=r"text 'babble' has .* held out: got 10,000,000"):
        build("text_transformer", {**TRANSFORMER, "characters": 10_000_000})


@pytest.mark.realdata
def test_a_transformer_learns_the_real_text_in_every_format() -> None:
    options = {**TRANSFORMER, "data": "imdb", "characters": 20_000, "width": 32}
    data = problems.load("text_transformer").identity(**options)
    for phase in ((), (("state_format", "bfloat16"),), (("state_format", "float8"),)):
        pairs = tuple(sorted(options.items()))
        run = Training("text_transformer", pairs, data, Adam(lr=1e-3), "constant", 0.0, 32, 1, 0, phase=phase)
        start, end = run.execute().epochs
        assert (end["train_nll"] or math.inf) < 0.9 * (start["train_nll"] or 0)


@pytest.mark.parametrize(
    ("name", "options", "start"), [*PROBLEMS, *NETWORKS, ("images_cnn", NOISY, math.log(10))]
)
def test_the_noise_drawn_does_not_depend_on_the_parameters(
    name: str, options: dict[str, Option], start: float
) -> None:
    states = []
    for value in (0.0, 3.0):
        problem, generator = build(name, options), noise()
        with torch.no_grad():
            problem.parameters[0].fill_(value)
        problem.cost(torch.arange(100), generator)
        states.append(generator.get_state())
    assert torch.equal(*states)


def random_problem(form: str) -> tuple[Problem, torch.Tensor, torch.Tensor]:
    """A problem at random parameters, with its features and labels."""
    random = np.random.default_rng(0)
    x = (random.poisson(0.5, (30, 7))).astype(np.float32)
    labels = random.integers(0, 3, 30)
    features = {"dense": Dense(torch.from_numpy(x)), "sparse": Sparse(sparse.csr_array(x))}[form]
    problem = softmax_regression((features, labels), (features, labels), (7, 3))
    with torch.no_grad():
        for parameter in problem.parameters:
            parameter.copy_(torch.from_numpy(random.normal(size=parameter.shape)))
    return problem, torch.from_numpy(x), torch.from_numpy(labels)


@pytest.mark.parametrize("form", ["dense", "sparse"])
def test_cost_and_gradient_are_those_of_the_softmax(form: str) -> None:
    problem, x, labels = random_problem(form)
    batch = torch.tensor([3, 1, 4, 15, 9, 2])
    cost = problem.cost(batch, noise())
    cost.backward()
    weight, bias = problem.parameters
    chances = torch.softmax(x[batch] @ weight.detach() + bias.detach(), dim=1)
    rest = (chances - torch.nn.functional.one_hot(labels[batch], 3)) / len(batch)
    torch.testing.assert_close(cost.detach(), -chances[range(6), labels[batch]].log().mean())
    torch.testing.assert_close(weight.grad, x[batch].T @ rest)
    torch.testing.assert_close(bias.grad, rest.sum(dim=0))
    assert problem.evaluate()["test_nll"] == pytest.approx(problem.cost(torch.arange(30), noise()).item())


def test_dropout_zeroes_at_its_rate_and_keeps_the_mean() -> None:
    features = Sparse(sparse.csr_array(np.full((200, 100), 3, np.float32)))
    for rate in (0.5, 0.2):
        dropped = features.dropped(rate, noise()).x.toarray()
        kept = np.float32(3 / (1 - rate))
        assert np.unique(dropped).tolist() == [0, kept]
        assert (dropped == 0).mean() == pytest.approx(rate, abs=0.02)
        assert dropped.mean() == pytest.approx(3, rel=0.03)
    assert np.all(features.x.data == 3)


def test_dropout_is_fresh_for_each_batch() -> None:
    features = Sparse(sparse.csr_array(np.ones((10, 10), np.float32)))
    generator = noise()
    first, second = (features.dropped(0.5, generator).x.toarray() for _ in range(2))
    assert not np.array_equal(first, second)


def test_dropout_of_units_zeroes_at_its_rate_keeps_the_mean_and_needs_noise() -> None:
    x = torch.full((200, 100), 3.0)
    found = dropped(x, 0.2, noise())
    assert found.unique().tolist() == [0, pytest.approx(3 / 0.8)]
    assert (found == 0).double().mean().item() == pytest.approx(0.2, abs=0.01)
    assert torch.equal(dropped(x, 0.2, None), x)
    assert torch.equal(dropped(x, 0.0, noise()), x)


def test_the_convolutional_networks_noise_is_the_generators_and_only_training_has_it() -> None:
    plain, noisy = build("images_cnn", CNN), build("images_cnn", NOISY)
    batch = torch.arange(100)
    assert plain.evaluate() == noisy.evaluate()
    generator = noise()
    costs = [noisy.cost(batch, each).item() for each in (generator, generator, noise())]
    assert costs[0] != costs[1]
    assert costs[0] == costs[2] != plain.cost(batch, noise()).item()


def test_the_convolutional_network_is_the_papers() -> None:
    module = images_cnn.Cnn((3, 32, 32), channels=64, units=1_000, dropout_input=0.2, dropout_units=0.5)
    shapes = [tuple(p.shape) for p in module.parameters() if p.ndim > 1]
    convolutions = [(64, 3, 5, 5), (64, 64, 5, 5), (128, 64, 5, 5)]
    assert shapes == [*convolutions, (1_000, 128 * 4 * 4), (10, 1_000)]


def test_a_convolutional_network_trains_on_the_first_images_there_are() -> None:
    assert build("images_cnn", CNN).examples == 400
    assert build("images_cnn", {**CNN, "count": 10_000}).examples == 1_664


def test_an_unknown_problem_lists_those_there_are() -> None:
    with pytest.raises(
        ExperimentError, match=r"unknown problem 'knapsack'; known: .*images_softmax, .*words_softmax"
    ):
        problems.load("knapsack")


def test_dropout_draws_from_the_noise_alone_and_not_where_it_is_measured() -> None:
    plain = build("images_mlp", {"data": "digits", "width": 50})
    noisy = build("images_mlp", {"data": "digits", "width": 50, "dropout": 0.5})
    assert noisy.evaluate() == plain.evaluate()
    batch, generator = torch.arange(noisy.examples), noise()
    state = torch.get_rng_state()
    one, other = noisy.cost(batch, generator), noisy.cost(batch, generator)
    assert torch.equal(torch.get_rng_state(), state)
    assert one.item() != other.item()
    assert noisy.cost(batch, noise()).item() == one.item()
    # Of the mean over many masks: what is kept is scaled, so that no layer sees less than without dropout.
    assert one.item() == pytest.approx(plain.cost(batch, noise()).item(), rel=0.05)
