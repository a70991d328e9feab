"""The reference against a second source: torch.optim (for-loop form) and optax, in float64.

Other packages are in test_packages.py, and algorithms as they are printed in test_printed.py.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from package_cases import CASES
from printed_cases import PRINTED
from rule_cases import RULES, gradients, parameters, run_reference

from adamas.backends import Envelope
from adamas.rules import (
    ADOPT,
    LAMB,
    LARS,
    SGD,
    AdaBelief,
    Adadelta,
    Adagrad,
    Adam,
    AdaMax,
    Adan,
    AdEMAMix,
    AMSGrad,
    DAdaptAdam,
    DoG,
    Lion,
    NAdam,
    NovoGrad,
    Prodigy,
    RAdam,
    RMSprop,
    Rule,
    ScheduleFreeAdamW,
    ScheduleFreeSGD,
    Signum,
    SimplifiedAdEMAMix,
    Yogi,
)

STEPS, N = 40, 30


def assert_same(actual: np.ndarray, expected: np.ndarray) -> None:
    """The same formula, in another order of operations: some roundings a step, with cancellation in m."""
    np.testing.assert_allclose(actual, expected, rtol=1e-12, atol=1e-13)


# torch.optim: its name there, its arguments, our rule, and the envelope that its decay and sign are.
TORCH: list[tuple[str, dict[str, Any], Rule, Envelope]] = [
    ("SGD", {}, SGD(), Envelope()),
    ("SGD", {"momentum": 0.9}, SGD(momentum=0.9), Envelope()),
    ("SGD", {"momentum": 0.9, "dampening": 0.3}, SGD(momentum=0.9, dampening=0.3), Envelope()),
    ("SGD", {"momentum": 0.9, "nesterov": True}, SGD(momentum=0.9, nesterov=True), Envelope()),
    ("SGD", {"momentum": 0.9, "weight_decay": 0.1}, SGD(momentum=0.9), Envelope(coupled_decay=0.1)),
    ("Adagrad", {}, Adagrad(), Envelope()),
    (
        "Adagrad",
        {"lr_decay": 0.1, "initial_accumulator_value": 0.5, "eps": 0.1},
        Adagrad(lr_decay=0.1, initial_accumulator_value=0.5, eps=0.1),
        Envelope(),
    ),
    ("RMSprop", {}, RMSprop(), Envelope()),
    ("RMSprop", {"momentum": 0.9, "eps": 0.1}, RMSprop(momentum=0.9, eps=0.1), Envelope()),
    ("RMSprop", {"centered": True, "alpha": 0.9}, RMSprop(centered=True, alpha=0.9), Envelope()),
    ("RMSprop", {"centered": True, "momentum": 0.9}, RMSprop(centered=True, momentum=0.9), Envelope()),
    ("Adadelta", {}, Adadelta(), Envelope()),
    ("Adadelta", {"lr": 0.5, "rho": 0.8, "eps": 0.1}, Adadelta(lr=0.5, rho=0.8, eps=0.1), Envelope()),
    ("Adam", {}, Adam(), Envelope()),
    ("Adam", {"betas": (0.7, 0.8), "eps": 0.1}, Adam(beta1=0.7, beta2=0.8, eps=0.1), Envelope()),
    ("Adam", {"amsgrad": True}, AMSGrad(), Envelope()),
    ("Adam", {"amsgrad": True, "betas": (0.7, 0.8)}, AMSGrad(beta1=0.7, beta2=0.8), Envelope()),
    ("Adam", {"weight_decay": 0.1, "maximize": True}, Adam(), Envelope(scale=-1, coupled_decay=0.1)),
    ("AdamW", {"weight_decay": 0.1}, Adam(), Envelope(decay_factor=1 - 1e-3 * 0.1)),
    ("AdamW", {"weight_decay": 0.1, "amsgrad": True}, AMSGrad(), Envelope(decay_factor=1 - 1e-3 * 0.1)),
    ("Adamax", {}, AdaMax(eps=1e-8), Envelope()),
    ("Adamax", {"betas": (0.7, 0.8), "eps": 0.1}, AdaMax(beta1=0.7, beta2=0.8, eps=0.1), Envelope()),
    ("NAdam", {}, NAdam(), Envelope()),
    (
        "NAdam",
        {"betas": (0.7, 0.8), "momentum_decay": 0.5},
        NAdam(beta1=0.7, beta2=0.8, momentum_decay=0.5),
        Envelope(),
    ),
    ("RAdam", {}, RAdam(), Envelope()),
    ("RAdam", {"betas": (0.7, 0.9), "eps": 0.1}, RAdam(beta1=0.7, beta2=0.9, eps=0.1), Envelope()),
]


def run_torch(name: str, arguments: dict[str, Any], p: np.ndarray, grads: np.ndarray) -> np.ndarray:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    parameter = torch.tensor(p, requires_grad=True)
    optimizer = getattr(torch.optim, name)([parameter], foreach=False, **arguments)
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)  # else NAdam's product of momenta is kept in float32
    try:
        for g in grads:
            parameter.grad = torch.tensor(g)
            optimizer.step()
    finally:
        torch.set_default_dtype(default)
    return parameter.detach().numpy()


@pytest.mark.parametrize(
    ("name", "arguments", "rule", "envelope"),
    TORCH,
    ids=[f"{name}-{arguments}" for name, arguments, *_ in TORCH],
)
def test_torch(name: str, arguments: dict[str, Any], rule: Rule, envelope: Envelope) -> None:
    p, grads = parameters(N), gradients(STEPS, N)
    expected = run_torch(name, arguments, p, grads)
    assert_same(run_reference(rule, p, grads, envelope)[-1][0], expected)


# optax: how to make it, our rule, and the envelope. Where its definition is another one, the
# comment says which, and the hyperparameters are those at which the two must meet.
BETAS = {"b1": 0.8, "b2": 0.95}
OURS = {"beta1": 0.8, "beta2": 0.95}
OPTAX: dict[str, tuple[Callable[[Any], Any], Rule, Envelope]] = {
    "sgd": (lambda o: o.sgd(0.1), SGD(lr=0.1), Envelope()),
    "sgd-momentum": (lambda o: o.sgd(0.1, momentum=0.9), SGD(lr=0.1, momentum=0.9), Envelope()),
    "sgd-nesterov": (
        lambda o: o.sgd(0.1, momentum=0.9, nesterov=True),
        SGD(lr=0.1, momentum=0.9, nesterov=True),
        Envelope(),
    ),
    # optax adds ε inside the root: no ε, then.
    "adagrad": (
        lambda o: o.adagrad(0.1, initial_accumulator_value=0.3, eps=0.0),
        Adagrad(lr=0.1, initial_accumulator_value=0.3, eps=0),
        Envelope(),
    ),
    # optax has ε inside the root unless told otherwise.
    "rmsprop": (
        lambda o: o.rmsprop(0.01, decay=0.95, eps=0.1, eps_in_sqrt=False),
        RMSprop(alpha=0.95, eps=0.1),
        Envelope(),
    ),
    # optax accumulates lr * update, torch and we the update: the same while lr is.
    "rmsprop-momentum": (
        lambda o: o.rmsprop(0.01, decay=0.95, eps=0.1, eps_in_sqrt=False, momentum=0.9),
        RMSprop(alpha=0.95, eps=0.1, momentum=0.9),
        Envelope(),
    ),
    "rmsprop-centered": (
        lambda o: o.rmsprop(0.01, decay=0.95, eps=0.1, eps_in_sqrt=False, centered=True),
        RMSprop(alpha=0.95, eps=0.1, centered=True),
        Envelope(),
    ),
    "adadelta": (lambda o: o.adadelta(0.5, rho=0.8, eps=0.1), Adadelta(lr=0.5, rho=0.8, eps=0.1), Envelope()),
    "adam": (lambda o: o.adam(1e-3, **BETAS, eps=0.1), Adam(**OURS, eps=0.1), Envelope()),
    "adam-inside": (
        lambda o: o.adam(1e-3, **BETAS, eps=0.0, eps_root=0.1),
        Adam(**OURS, eps=0.1, eps_placement="inside"),
        Envelope(),
    ),
    "adamw": (
        lambda o: o.adamw(0.01, weight_decay=0.1),
        Adam(lr=0.01),
        Envelope(decay_factor=1 - 0.01 * 0.1),
    ),
    "adamax": (lambda o: o.adamax(1e-3, **BETAS, eps=0.1), AdaMax(lr=1e-3, **OURS, eps=0.1), Envelope()),
    # optax's default takes the maximum of the corrected v̂, torch and we that of v, as the paper;
    # without corrections they meet.
    "amsgrad-uncorrected": (
        lambda o: o.amsgrad(1e-3, **BETAS, eps=0.1, bias_correction_mu=False, bias_correction_nu=False),
        AMSGrad(**OURS, eps=0.1, bias_correction=False),
        Envelope(),
    ),
    # optax has no momentum schedule: μ is β1, which is ours at once where the schedule is quick.
    "nadam": (
        lambda o: o.nadam(1e-3, **BETAS, eps=0.1),
        NAdam(lr=1e-3, **OURS, eps=0.1, momentum_decay=1e6),
        Envelope(),
    ),
    # optax adds ε to the root of v̂, as the paper does not say; torch and we to that of v. No ε, then.
    "radam": (lambda o: o.radam(1e-3, **BETAS, eps=0.0), RAdam(**OURS, eps=0), Envelope()),
    "radam-late": (lambda o: o.radam(1e-3, eps=0.0), RAdam(eps=0), Envelope()),
    # optax calls the ε inside s `eps_root`.
    "adabelief": (
        lambda o: o.adabelief(1e-3, **BETAS, eps=0.1, eps_root=0.1),
        AdaBelief(**OURS, eps=0.1),
        Envelope(),
    ),
    "lion": (
        lambda o: o.lion(0.01, **BETAS, weight_decay=0.1),
        Lion(lr=0.01, **OURS),
        Envelope(decay_factor=1 - 0.01 * 0.1),
    ),
    "ademamix": (
        lambda o: o.contrib.ademamix(0.01, **BETAS, b3=0.99, alpha=4.0, eps=0.1),
        AdEMAMix(lr=0.01, **OURS, beta3=0.99, alpha=4, eps=0.1),
        Envelope(),
    ),
    "simplified_ademamix": (
        lambda o: o.contrib.simplified_ademamix(1e-3, **BETAS, alpha=4.0, eps=0.1),
        SimplifiedAdEMAMix(lr=1e-3, **OURS, alpha=4, eps=0.1),
        Envelope(),
    ),
    "adopt": (lambda o: o.contrib.adopt(0.01, **BETAS, eps=0.1), ADOPT(lr=0.01, **OURS, eps=0.1), Envelope()),
    # optax begins m where v begins: at 0.
    "yogi": (
        lambda o: o.chain(o.scale_by_yogi(**BETAS, eps=0.1, initial_accumulator_value=0.0), o.scale(-0.01)),
        Yogi(lr=0.01, **OURS, eps=0.1, initial_accumulator_value=0),
        Envelope(),
    ),
    "schedule_free_sgd": (
        lambda o: o.contrib.schedule_free_sgd(0.01, b1=0.8, weight_decay=0.1),
        ScheduleFreeSGD(lr=0.01, momentum=0.8, weight_decay=0.1),
        Envelope(),
    ),
    "schedule_free_adamw": (
        lambda o: o.contrib.schedule_free_adamw(0.01, **BETAS, eps=0.1, weight_decay=0.1),
        ScheduleFreeAdamW(lr=0.01, **OURS, eps=0.1, weight_decay=0.1),
        Envelope(),
    ),
    "lamb": (
        lambda o: o.lamb(0.01, **BETAS, eps=0.1, weight_decay=0.1),
        LAMB(lr=0.01, **OURS, eps=0.1, weight_decay=0.1),
        Envelope(),
    ),
    # optax divides by the norm of g + λθ, the paper and we by the sum of norms: no decay, then.
    "lars": (
        lambda o: o.lars(0.1, momentum=0.8, trust_coefficient=0.1),
        LARS(lr=0.1, momentum=0.8, trust=0.1),
        Envelope(),
    ),
    "novograd": (
        lambda o: o.novograd(0.01, **BETAS, eps=0.1, weight_decay=0.1),
        NovoGrad(lr=0.01, **OURS, eps=0.1, weight_decay=0.1),
        Envelope(),
    ),
    # optax always corrects the bias.
    "prodigy": (
        lambda o: o.contrib.prodigy(1.0, betas=(0.8, 0.95), estim_lr0=1e-3, weight_decay=0.1),
        Prodigy(**OURS, d0=1e-3, bias_correction=True, weight_decay=0.1),
        Envelope(),
    ),
    "dadapt_adamw": (
        lambda o: o.contrib.dadapt_adamw(1.0, betas=(0.8, 0.95), estim_lr0=1e-3, weight_decay=0.1),
        DAdaptAdam(**OURS, d0=1e-3, bias_correction=True, weight_decay=0.1),
        Envelope(),
    ),
    "dog": (lambda o: o.contrib.dog(1.0, ("heuristic", 1e-2)), DoG(first=1e-2), Envelope()),
    "adopt-clipped": (lambda o: o.contrib.adopt(1e-3, b2=0.999), ADOPT(beta2=0.999), Envelope()),
    "signum": (lambda o: o.signum(0.01, beta=0.8), Signum(lr=0.01, beta=0.8), Envelope()),
    # The weight of a difference is β2 in ours, 1 - β2 in optax: the same at one half.
    "adan": (
        lambda o: o.adan(1e-3, b1=0.8, b2=0.5, b3=0.95, eps=0.1, eps_root=0.0),
        Adan(beta1=0.8, beta2=0.5, beta3=0.95, eps=0.1),
        Envelope(),
    ),
}


def run_optax(make: Callable[[Any], Any], p: np.ndarray, grads: np.ndarray) -> np.ndarray:
    jax = pytest.importorskip("jax", reason="jax is not installed")
    optax = pytest.importorskip("optax", reason="optax is not installed")
    transformation = make(optax)

    def step(carry: tuple[Any, Any], g: Any) -> tuple[tuple[Any, Any], None]:
        parameter, state = carry
        updates, state = transformation.update(g, state, parameter)
        return (optax.apply_updates(parameter, updates), state), None

    with jax.enable_x64(True):
        start = jax.numpy.asarray(p)
        (moved, _), _ = jax.lax.scan(step, (start, transformation.init(start)), jax.numpy.asarray(grads))
        return np.asarray(moved)


@pytest.mark.parametrize("name", OPTAX)
def test_optax(name: str) -> None:
    make, rule, envelope = OPTAX[name]
    p, grads = parameters(N), gradients(STEPS, N)
    expected = run_optax(make, p, grads)
    assert_same(run_reference(rule, p, grads, envelope)[-1][0], expected)


def test_optax_amsgrad_where_the_second_moment_grows() -> None:
    """There the largest v and the largest v̂ are the last ones, and the two definitions meet."""
    p, grads = parameters(N), gradients(1, N) * np.arange(1, STEPS + 1)[:, None]
    expected = run_optax(lambda o: o.amsgrad(1e-3, eps=0.1), p, grads)
    assert_same(run_reference(AMSGrad(eps=0.1), p, grads)[-1][0], expected)


def test_every_rule_has_a_second_source() -> None:
    rules = {type(rule) for _, _, rule, _ in TORCH} | {type(rule) for _, rule, _ in OPTAX.values()}
    rules |= {type(case.rule) for case in CASES.values()} | {type(rule) for _, rule in PRINTED}
    assert rules == set(RULES.values())
