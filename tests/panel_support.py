"""Small trainings that are watched: healthy ones of the experiments, and ones with a fault each."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import adamas.rules
from adamas._tools import modules
from adamas.experiments import figures, problems
from adamas.experiments.runs.training import SCHEDULES, Training
from adamas.rules import DAdaptAdam, Rule, ScheduleFreeSGD
from adamas.torch import SGD, Adam, AdamW, Optimizer
from adamas.torch.report import Report

# Healthy trainings.

PROBLEMS = modules.names(problems.__name__)
RULES = [
    rule
    for name in adamas.rules.__all__
    if inspect.isclass(rule := getattr(adamas.rules, name)) and issubclass(rule, Rule) and rule is not Rule
]


@functools.cache
def demos(problem: str) -> list[Training]:
    """The trainings of the demos of all figures on a problem."""
    every = [run for name in modules.names(figures.__name__) for run in figures.load(name).runs("demo")]
    return [run for run in every if isinstance(run, Training) and run.problem == problem]


_MILD: dict[type[Rule], Rule] = {
    DAdaptAdam: DAdaptAdam(bias_correction=True),
    ScheduleFreeSGD: ScheduleFreeSGD(lr=0.1),
}


def healthy(problem: str) -> Iterator[tuple[Rule, str, float]]:
    """Rules, schedules and coefficients of L2: each rule as it is by default, and as figures have it.

    A figure has a grid of learning rates, from too small to too large: the middle is reasonable. Two rules
    go too far by default, here as in their authors' code: with D-Adaptation the transformer's cost rises from
    4.7 to 29 (`too_far_by_default` is told), and schedule-free SGD, whose α is 1, loses the autoencoder.
    """
    for rule in RULES:
        if mild := _MILD.get(rule):
            yield mild, "constant", 0.0
            continue
        yield rule(), "constant", 0.0
        runs = sorted((run for run in demos(problem) if type(run.rule) is rule), key=lambda run: run.rule.lr)
        if runs:
            middle = runs[len(runs) // 2]
            yield middle.rule, middle.schedule, middle.l2


def experiment(problem: str, rule: Rule, schedule: str, l2: float, steps: int, every: int) -> list[Report]:
    """The reports on a short training of an experiment."""
    runs = demos(problem)
    options = runs[0].options if runs else tuple(sorted(problems.load(problem).DEMO.items()))  # type: ignore[attr-defined]
    problems.load(problem).prepare(**dict(options))
    built, order, noise = problems.start(problem, options, 0)
    opt = Optimizer(built.parameters, rule, weight_decay=l2)
    slower = torch.optim.lr_scheduler.LambdaLR(opt, SCHEDULES[schedule])
    seen: list[Report] = []
    opt.watch(every=every, to=seen.append)
    for _ in range(steps):
        batch = torch.randperm(built.examples, generator=order)[:32]
        opt.zero_grad()
        built.cost(batch, noise).backward()  # type: ignore[no-untyped-call]
        opt.step()
        slower.step()
    return seen


# A classifier of points around ten centres, and what can be done to it.


class Classifier(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.last = nn.Linear(32, 64), nn.Linear(64, 64), nn.Linear(64, 10)
        self.spare = nn.Linear(64, 64)
        self.skips_spare = True

    def forward(self, x: Tensor) -> Tensor:
        hidden = torch.relu(self.second(torch.relu(self.first(x))))
        hidden = hidden if self.skips_spare else hidden + self.spare(hidden)
        outputs: Tensor = self.last(hidden)
        return outputs


Step = Callable[[nn.Module, torch.optim.Optimizer, Tensor, Tensor, int], None]


def plainly(model: nn.Module, opt: torch.optim.Optimizer, x: Tensor, y: Tensor, k: int) -> None:
    opt.zero_grad()
    cross_entropy(model(x).float(), y).backward()  # type: ignore[no-untyped-call]
    opt.step()


def fit(model: nn.Module, opt: Any, seed: int, step: Step = plainly, steps: int = 40) -> None:
    """Train on batches of 32; the seed decides the centres and the batches."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(10, 32, generator=generator)
    dtype = next(model.parameters()).dtype
    for k in range(steps):
        y = torch.randint(10, (32,), generator=generator)
        x = centres[y] + 0.5 * torch.randn(32, 32, generator=generator)
        step(model, opt, x.to(dtype), y, k)


def classifier(seed: int, uses_spare: bool = True) -> Classifier:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = Classifier()
    model.skips_spare = not uses_spare
    return model


def training(
    seed: int,
    make: Callable[..., Any] = AdamW,
    step: Step = plainly,
    model: Classifier | None = None,
    steps: int = 40,
    **options: Any,
) -> Any:
    """The optimizer of a training that was watched."""
    model = model or classifier(seed)
    opt = make(model.named_parameters(), **options)
    opt.watch(every=2, model=model)
    fit(model, opt, seed, step, steps)
    return opt


# Faults, by the kind that they are.


def _nonfinite(seed: int) -> Any:
    def step(model: nn.Module, opt: Any, x: Tensor, y: Tensor, k: int) -> None:
        if k >= 20:
            x[seed % 32] = math.inf
        plainly(model, opt, x, y, k)

    return training(seed, step=step)


def _replaced(seed: int) -> Any:
    model = classifier(seed)

    def step(model: Any, opt: Any, x: Tensor, y: Tensor, k: int) -> None:
        if k == 5:
            model.last = nn.Linear(64, 10)
        plainly(model, opt, x, y, k)

    return training(seed, step=step, model=model)


def _missing(seed: int) -> Any:
    model = classifier(seed)
    opt = AdamW([*model.first.parameters(), *model.last.parameters()])
    opt.watch(every=2, model=model)
    fit(model, opt, seed)
    return opt


def _unused(seed: int) -> Any:
    return training(seed, model=classifier(seed, uses_spare=False))


def _clipped(seed: int) -> Any:
    def step(model: nn.Module, opt: Any, x: Tensor, y: Tensor, k: int) -> None:
        opt.zero_grad()
        (65536 * cross_entropy(model(x), y)).backward()
        opt.step()

    return training(seed, step=step, clip_norm=1.0)


def _decay(seed: int) -> Any:
    return training(seed, weight_decay=30.0 + seed)


def _lr_low(seed: int) -> Any:
    return training(seed, lr=[0.0, 1e-10, 1e-12][seed % 3])


def _stuck(seed: int) -> Any:
    return training(seed, model=classifier(seed).bfloat16(), lr=2e-6 / (1 + seed % 3))


def _lr_high(seed: int) -> Any:
    return training(seed, lr=[1.0, 3.0, 10.0][seed % 3])


def _accumulating(seed: int) -> Any:
    def step(model: nn.Module, opt: Any, x: Tensor, y: Tensor, k: int) -> None:
        cross_entropy(model(x), y).backward()
        opt.step()

    return training(seed, step=step)


def _exploding(seed: int) -> Any:
    def step(model: nn.Module, opt: Any, x: Tensor, y: Tensor, k: int) -> None:
        opt.zero_grad()
        ((1.4 + 0.1 * (seed % 3)) ** k * cross_entropy(model(x), y)).backward()
        opt.step()

    return training(seed, step=step)


def _epsilon(seed: int) -> Any:
    return training(seed, eps=[0.1, 1.0, 10.0][seed % 3])


def _beta2(seed: int) -> Any:
    def step(model: nn.Module, opt: Any, x: Tensor, y: Tensor, k: int) -> None:
        opt.zero_grad()
        ((1e4 if k < 3 else 1.0) * cross_entropy(model(x), y)).backward()
        opt.step()

    return training(seed, step=step, betas=(0.9, [0.999, 0.9999, 0.99999][seed % 3]))


def _dead(seed: int) -> Any:
    model = classifier(seed)
    with torch.no_grad():
        model.second.bias.fill_(-100.0)
    return training(seed, make=Adam, model=model)


FAULTS: dict[str, Callable[[int], Any]] = {
    name[1:].replace("lr_", "lr-"): made
    for name, made in list(globals().items())
    if inspect.isfunction(made)
    and name.startswith("_")
    and list(inspect.signature(made).parameters) == ["seed"]
}


# Other ways to the same faults.


def coupled_decay(seed: int) -> Any:
    return training(seed, make=Adam, weight_decay=100.0)


def frozen_by_nan(seed: int) -> Any:
    """A parameter that is not finite has no gradient that is."""
    model = classifier(seed)

    def step(model: Any, opt: Any, x: Tensor, y: Tensor, k: int) -> None:
        if k == 10:
            with torch.no_grad():
                model.last.bias[0] = math.nan
        opt.zero_grad()
        model(x)[:, 1:].square().mean().backward()
        opt.step()

    return training(seed, step=step, model=model)


def without_a_least_loss(seed: int) -> Any:
    """A loss with no lower bound, as a critic's: most elements sit at the bound of a step, always."""

    def step(model: nn.Module, opt: Any, x: Tensor, y: Tensor, k: int) -> None:
        opt.zero_grad()
        model(x.abs()).sum().backward()
        opt.step()

    return training(seed, step=step, lr=0.02)


def sums_of_gradients(seed: int) -> Any:
    """Gradients that are never zeroed, of a rule that tells nothing of its signal."""

    def step(model: nn.Module, opt: Any, x: Tensor, y: Tensor, k: int) -> None:
        cross_entropy(model(x), y).backward()
        opt.step()

    return training(seed, make=SGD, step=step, lr=1e-4)


def slowly_growing(seed: int) -> Any:
    """Gradients that grow faster than v can follow, and not a hundredfold."""

    def step(model: nn.Module, opt: Any, x: Tensor, y: Tensor, k: int) -> None:
        opt.zero_grad()
        (1.13**k * cross_entropy(model(x), y)).backward()
        opt.step()

    return training(seed, step=step, steps=90, lr=1e-5, betas=(0.9, 0.9999))


def too_far_by_default(seed: int) -> Any:
    """Steps of D-Adaptation, whose first d is too large: v without its correction is too small."""
    return training(seed, make=lambda named: Optimizer(named, DAdaptAdam()))


VARIANTS: list[tuple[str, Callable[[int], Any]]] = [
    ("decay", coupled_decay),
    ("nonfinite", frozen_by_nan),
    ("lr-high", without_a_least_loss),
    ("accumulating", sums_of_gradients),
    ("lr-high", too_far_by_default),
    ("beta2", slowly_growing),
]


def kinds(reports: Sequence[Report]) -> set[str]:
    return {found.kind for report in reports for found in report.warnings}
