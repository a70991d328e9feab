"""Optimizers of public packages that are to take the same steps as ours, and at which hyperparameters."""

from __future__ import annotations

import contextlib
import importlib
import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from adamas.rules import (
    ADOPT,
    LAMB,
    LARS,
    MARS,
    SGD,
    AdaBelief,
    AdaBound,
    Adam,
    AdaMax,
    AdamMini,
    AdamP,
    Adan,
    AdEMAMix,
    CautiousAdam,
    CautiousLion,
    DAdaptAdam,
    DoG,
    Grams,
    LaProp,
    Lion,
    NAdam,
    NovoGrad,
    Prodigy,
    RAdam,
    Rule,
    ScheduleFreeAdamW,
    ScheduleFreeSGD,
    Signum,
    StableAdamW,
    Yogi,
)

Make = Callable[[Any, list[Any]], Any]

SHAPES = ((6, 8), (7,), (3, 5, 4))
MATRICES = ((6, 8), (5, 3))


@dataclass(frozen=True)
class Case:
    """One optimizer of a package, and ours.

    Attributes:
        module: the package.
        make: the optimizer, of the module and parameters.
        rule: ours.
        options: those of `adamas.torch.Optimizer`.
        shapes: of the parameters.
        slope: what the gradients are multiplied by.
    """

    module: str
    make: Make
    rule: Rule
    options: dict[str, Any] = field(default_factory=dict)
    shapes: tuple[tuple[int, ...], ...] = SHAPES
    slope: float = 1.0


def module_of(name: str) -> Any:
    """The package, or a skip that says what to install."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # theirs, at the first compilation
        try:
            return importlib.import_module(name)
        except ImportError:
            pytest.skip(f"{name} is not installed; it is in the extra dev")


@contextlib.contextmanager
def quietly() -> Any:
    """Within, nothing is printed and nothing warned of."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield


def po(name: str, **options: Any) -> tuple[str, Make]:
    """An optimizer of pytorch_optimizer, parameter by parameter."""
    return "pytorch_optimizer", lambda module, params: getattr(module, name)(params, foreach=False, **options)


def optimi(name: str, **options: Any) -> tuple[str, Make]:
    """An optimizer of optimi."""
    options = {"triton": False, "foreach": False, **options}
    return "optimi", lambda module, params: getattr(module, name)(params, **options)


def heavyball(name: str, **options: Any) -> tuple[str, Make]:
    """An optimizer of heavyball, not compiled, with state in float64."""
    options = {"eps": 1e-30, "storage_dtype": "float64", **options}
    return "heavyball", lambda module, params: getattr(module, name)(params, **options)


def package(module: str, name: str, **options: Any) -> tuple[str, Make]:
    """An optimizer of a package of its authors."""
    return module, lambda module, params: getattr(module, name)(params, **options)


def schedule_free(name: str, **options: Any) -> tuple[str, Make]:
    """One of schedulefree, in training."""

    def make(module: Any, params: list[Any]) -> Any:
        optimizer = getattr(module, name)(params, **options)
        optimizer.train()
        return optimizer

    return "schedulefree", make


def adam_mini(module: Any, params: list[Any]) -> Any:
    """Its blocks are by names: rows of what is called mlp, all of what is called norm."""
    names = {2: "mlp", 1: "norm"}
    named = [(f"{names[p.ndim]}.{i}", p) for i, p in enumerate(params)]
    sizes = {"dim": 8, "n_heads": 2}
    return module.Adam_mini(
        named, lr=0.01, betas=(0.8, 0.95), eps=1e-3, weight_decay=0.0, **sizes, verbose=False
    )


B = {"lr": 0.01, "betas": (0.8, 0.95)}
OURS: dict[str, Any] = {"lr": 0.01, "beta1": 0.8, "beta2": 0.95}
DECAY = {"weight_decay": 0.1, "decoupled_weight_decay": True}
DECOUPLED = {"weight_decay": 0.1, "weight_decouple": True}
WARM: dict[str, Any] = {"warmup": 20, "r": 0.5, "weight_decay": 0.1}
WARM_THERE = {"warmup_steps": 20, "r": 0.5, "weight_decay": 0.1}

# Where a definition of theirs is another one, the comment says which, and the hyperparameters are those at
# which the two must meet.
CASES: dict[str, Case] = {
    # Of torch-optimi.
    "optimi SGD": Case(*optimi("SGD", lr=0.01, momentum=0.9), SGD(lr=0.01, momentum=0.9)),
    "optimi Adam": Case(*optimi("Adam", **B, eps=0.1), Adam(**OURS, eps=0.1)),
    "optimi AdamW": Case(*optimi("AdamW", **B, weight_decay=0.1), Adam(**OURS, eps=1e-6), DECAY),
    "optimi RAdam": Case(*optimi("RAdam", **B, eps=0), RAdam(**OURS, eps=0)),
    "optimi Lion": Case(*optimi("Lion", **B, weight_decay=0.1), Lion(**OURS), DECAY),
    "optimi Adan": Case(
        *optimi("Adan", lr=0.01, betas=(0.9, 0.8, 0.95), eps=0.1, weight_decay=0.1),
        Adan(lr=0.01, beta1=0.9, beta2=0.8, beta3=0.95, eps=0.1, weight_decay=0.1),
    ),
    "optimi StableAdamW": Case(
        *optimi("StableAdamW", **B, eps=1e-3, weight_decay=0.1),
        StableAdamW(**OURS, eps=1e-3, weight_decay=0.1),
    ),
    # Of pytorch_optimizer.
    "pytorch_optimizer AdaBelief": Case(
        *po("AdaBelief", **B, eps=1e-3, **DECOUPLED), AdaBelief(**OURS, eps=1e-3), DECAY
    ),
    "pytorch_optimizer AdaMax": Case(*po("AdaMax", **B, eps=1e-3), AdaMax(**OURS, eps=1e-3)),
    "pytorch_optimizer NAdam": Case(*po("NAdam", **B), NAdam(**OURS)),
    "pytorch_optimizer Lion": Case(*po("Lion", **B, **DECOUPLED), Lion(**OURS), DECAY),
    "pytorch_optimizer SignSGD": Case(
        *po("SignSGD", lr=0.01, momentum=0.8, **DECOUPLED), Signum(lr=0.01, beta=0.8), DECAY
    ),
    # Its own clip is t^¼ of a t that counts the first gradient; with a function of the user's, ours.
    "pytorch_optimizer ADOPT": Case(
        *po("ADOPT", **B, eps=0.1, clip_lambda=lambda t: (t - 1) ** 0.25, **DECOUPLED),
        ADOPT(**OURS, eps=0.1),
        DECAY,
    ),
    "pytorch_optimizer AdEMAMix": Case(
        *po("AdEMAMix", lr=0.01, betas=(0.8, 0.95, 0.99), alpha=4.0, eps=0.1, **DECOUPLED),
        AdEMAMix(**OURS, beta3=0.99, alpha=4, eps=0.1),
        DECAY,
    ),
    "pytorch_optimizer AdEMAMix, warm-up": Case(
        *po("AdEMAMix", lr=0.01, betas=(0.8, 0.95, 0.99), alpha=4.0, eps=0.1, t_alpha_beta3=60),
        AdEMAMix(**OURS, beta3=0.99, alpha=4, eps=0.1, warmup=60),
    ),
    "pytorch_optimizer Adan": Case(
        *po("Adan", lr=0.01, betas=(0.9, 0.8, 0.95), eps=0.1, weight_decay=0.1),
        Adan(lr=0.01, beta1=0.9, beta2=0.8, beta3=0.95, eps=0.1, weight_decay=0.1),
    ),
    # It adds ε to the root of v, not of v̂: no ε, then; 1e-15 under that root stays.
    "pytorch_optimizer MARS": Case(
        *po("MARS", **B, gamma=0.1, optimize_1d=True, eps=0, **DECOUPLED),
        MARS(**OURS, gamma=0.1, eps=0),
        DECAY,
    ),
    # Gradients so small that there is nothing to clip.
    "pytorch_optimizer MARS, unclipped": Case(
        *po("MARS", **B, gamma=0.1, optimize_1d=True, eps=0, **DECOUPLED),
        MARS(**OURS, gamma=0.1, eps=0, clip=False),
        DECAY,
        shapes=((2, 3), (3,)),
        slope=0.1,
    ),
    # It adds ε to the root of v: no ε. It keeps α m, which is the same while α is.
    "pytorch_optimizer LaProp": Case(*po("LaProp", **B, eps=0), LaProp(**OURS, eps=0)),
    "pytorch_optimizer AdaBound": Case(
        *po("AdaBound", **B, final_lr=0.05, gamma=0.1, eps=0.1, **DECOUPLED),
        AdaBound(**OURS, final_lr=0.05, gamma=0.1, eps=0.1),
        DECAY,
    ),
    # Its m begins where its v does: at 0, then.
    "pytorch_optimizer Yogi": Case(
        *po("Yogi", **B, initial_accumulator=0.0, **DECOUPLED),
        Yogi(**OURS, initial_accumulator_value=0),
        DECAY,
    ),
    "pytorch_optimizer Grams": Case(*po("Grams", **B, eps=0.1, **DECOUPLED), Grams(**OURS, eps=0.1), DECAY),
    # Its factor is d / (‖φ‖ + 1), the paper's; the authors' own code has the mean of φ, at least .001.
    "pytorch_optimizer AdEMAMix, cautious, without slow mean": Case(
        *po("AdEMAMix", lr=0.01, betas=(0.8, 0.95, 0.9), alpha=0.0, eps=0.1, cautious=True, **DECOUPLED),
        CautiousAdam(**OURS, eps=0.1),
        DECAY,
    ),
    "pytorch_optimizer Lion, cautious": Case(
        *po("Lion", **B, cautious=True, **DECOUPLED), CautiousLion(**OURS), DECAY
    ),
    # It corrects no bias, which the ratio of norms cancels where there is neither decay nor ε.
    "pytorch_optimizer Lamb": Case(
        *po("Lamb", **B, eps=0, adam_debias=True), LAMB(**OURS, eps=0, weight_decay=0)
    ),
    # It leaves vectors to gradient descent, and multiplies momentum by lr: the same while lr is.
    "pytorch_optimizer LARS": Case(
        *po("LARS", lr=0.1, momentum=0.8, weight_decay=0.1, trust_coefficient=0.1),
        LARS(lr=0.1, momentum=0.8, trust=0.1, weight_decay=0.1),
        shapes=MATRICES,
    ),
    "pytorch_optimizer NovoGrad": Case(
        *po("NovoGrad", **B, eps=0.1, weight_decay=0.1), NovoGrad(**OURS, eps=0.1, weight_decay=0.1)
    ),
    # Of heavyball, which takes max(√v, ε) for √v + ε: no ε, but it must be more than 0.
    "heavyball AdamW": Case(*heavyball("AdamW", **B, weight_decay=0.1), Adam(**OURS, eps=0), DECAY),
    "heavyball NAdam": Case(*heavyball("NAdam", **B), NAdam(**OURS, eps=0)),
    "heavyball AdEMAMix": Case(
        *heavyball("AdEMAMix", lr=0.01, betas=(0.8, 0.95, 0.99), alpha=4.0),
        AdEMAMix(**OURS, beta3=0.99, alpha=4, eps=0),
    ),
    "heavyball LaProp": Case(*heavyball("LaProp", **B), LaProp(**OURS, eps=0)),
    "heavyball SFAdamW": Case(*heavyball("SFAdamW", **B), ScheduleFreeAdamW(**OURS, eps=0)),
    # Of the authors.
    "schedulefree SGD": Case(
        *schedule_free("SGDScheduleFree", lr=0.1, momentum=0.8, **WARM_THERE),
        ScheduleFreeSGD(lr=0.1, momentum=0.8, **WARM),
    ),
    "schedulefree AdamW": Case(
        *schedule_free("AdamWScheduleFree", **B, eps=1e-3, **WARM_THERE, foreach=False),
        ScheduleFreeAdamW(**OURS, eps=1e-3, **WARM),
    ),
    "prodigyopt": Case(
        *package("prodigyopt", "Prodigy", d0=1e-3, weight_decay=0.1), Prodigy(d0=1e-3, weight_decay=0.1)
    ),
    "prodigyopt, corrected and slow": Case(
        *package("prodigyopt", "Prodigy", d0=1e-2, d_coef=2, use_bias_correction=True, growth_rate=1.02),
        Prodigy(d0=1e-2, d_coef=2, bias_correction=True, growth=1.02),
    ),
    "dadaptation": Case(
        *package("dadaptation", "DAdaptAdam", weight_decay=0.1, decouple=True, d0=1e-3),
        DAdaptAdam(weight_decay=0.1, d0=1e-3),
    ),
    "dadaptation, corrected and slow": Case(
        *package("dadaptation", "DAdaptAdam", d0=1e-3, use_bias_correction=True, growth_rate=1.02),
        DAdaptAdam(d0=1e-3, bias_correction=True, growth=1.02),
    ),
    "dog-optimizer": Case(
        *package("dog", "DoG", reps_rel=1e-2, eps=0.5, weight_decay=0.1),
        DoG(first=1e-2, eps=0.5),
        {"weight_decay": 0.1},
    ),
    # Its rows are those of matrices alone.
    "adam-mini": Case("adam_mini", adam_mini, AdamMini(**OURS, eps=1e-3), shapes=(*MATRICES, (7,))),
    # It projects all rows of a tensor, or none, and adds ε to the norm of p. A large δ projects all.
    "adamp, projected": Case(
        *package("adamp", "AdamP", **B, delta=100.0, eps=0.0, weight_decay=0.1, wd_ratio=0.5),
        AdamP(**OURS, delta=100, eps=0, weight_decay=0.1, wd_ratio=0.5),
        shapes=MATRICES,
    ),
    "adamp, never projected": Case(
        *package("adamp", "AdamP", **B, delta=0.0, eps=0.1, weight_decay=0.1),
        AdamP(**OURS, delta=0, eps=0.1, weight_decay=0.1),
    ),
}
