"""What other libraries have of the rules, to be timed beside ours: optimizers for PyTorch, and optax."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import Any

import torch

from .contenders import Peer, other
from .measure import Call
from .pairs import Contender, UnavailableError
from .workloads import Shape

__all__ = ["rule_peers"]

# By rule: the name in each library, and arguments without which it cannot be made, or is another rule.
_PYTORCH_OPTIMIZER: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "ADOPT": ("ADOPT", {}),
    "AdEMAMix": ("AdEMAMix", {}),
    "AdaBelief": ("AdaBelief", {}),
    "AdaBound": ("AdaBound", {}),
    "AdaMax": ("AdaMax", {}),
    "AdamP": ("AdamP", {}),
    "Adan": ("Adan", {}),
    "CautiousLion": ("Lion", {"cautious": True}),
    "DAdaptAdam": ("DAdaptAdam", {}),
    "Grams": ("Grams", {}),
    "LAMB": ("Lamb", {}),
    "LARS": ("LARS", {}),
    "LaProp": ("LaProp", {}),
    "Lion": ("Lion", {}),
    "MARS": ("MARS", {"optimize_1d": True}),
    "NAdam": ("NAdam", {}),
    "NovoGrad": ("NovoGrad", {}),
    "Prodigy": ("Prodigy", {}),
    "QHAdam": ("QHAdam", {}),
    "RAdam": ("RAdam", {}),
    "ScheduleFreeAdamW": ("ScheduleFreeAdamW", {}),
    "ScheduleFreeSGD": ("ScheduleFreeSGD", {}),
    "Signum": ("SignSGD", {}),
    "SimplifiedAdEMAMix": ("SimplifiedAdEMAMix", {}),
    "StableAdamW": ("StableAdamW", {}),
    "Yogi": ("Yogi", {}),
}
_OPTIMI: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    name: (name, {"lr": 1e-3, "foreach": True, "triton": False})
    for name in ("SGD", "Adam", "Adan", "Lion", "RAdam", "StableAdamW")
}
_HEAVYBALL: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "ADOPT": ("ADOPT", {}),
    "AdEMAMix": ("AdEMAMix", {}),
    "Adam": ("AdamW", {}),
    "CautiousAdam": ("AdamW", {"caution": True}),
    "LaProp": ("LaProp", {}),
    "NAdam": ("NAdam", {}),
    "ScheduleFreeAdamW": ("SFAdamW", {}),
}
_AUTHORS: Mapping[str, tuple[str, str, str]] = {
    "AdamP": ("adamp", "AdamP", "adamp"),
    "DAdaptAdam": ("dadaptation", "DAdaptAdam", "dadaptation"),
    "DoG": ("dog", "DoG", "dog-optimizer"),
    "Prodigy": ("prodigyopt", "Prodigy", "prodigyopt"),
    "ScheduleFreeAdamW": ("schedulefree", "AdamWScheduleFree", "schedulefree"),
    "ScheduleFreeSGD": ("schedulefree", "SGDScheduleFree", "schedulefree"),
}
_OPTAX: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "ADOPT": ("contrib.adopt", {}),
    "AMSGrad": ("amsgrad", {}),
    "AdEMAMix": ("contrib.ademamix", {}),
    "AdaBelief": ("adabelief", {}),
    "AdaMax": ("adamax", {}),
    "Adadelta": ("adadelta", {}),
    "Adagrad": ("adagrad", {}),
    "Adam": ("adam", {}),
    "Adan": ("adan", {}),
    "DAdaptAdam": ("contrib.dadapt_adamw", {}),
    "DoG": ("contrib.dog", {}),
    "LAMB": ("lamb", {}),
    "LARS": ("lars", {}),
    "Lion": ("lion", {}),
    "NAdam": ("nadam", {}),
    "NovoGrad": ("novograd", {}),
    "Prodigy": ("contrib.prodigy", {}),
    "RAdam": ("radam", {}),
    "RMSprop": ("rmsprop", {}),
    "SGD": ("sgd", {}),
    "ScheduleFreeAdamW": ("contrib.schedule_free_adamw", {}),
    "ScheduleFreeSGD": ("contrib.schedule_free_sgd", {}),
    "Signum": ("signum", {}),
    "SimplifiedAdEMAMix": ("contrib.simplified_ademamix", {}),
    "Yogi": ("yogi", {}),
}


def rule_peers() -> dict[str, list[Contender]]:
    """Return the contenders of other libraries by the name of our rule; one that is not here says so."""
    found: dict[str, list[Contender]] = {}
    for rule, (name, options) in _PYTORCH_OPTIMIZER.items():
        many = {"foreach": True, **options}
        found.setdefault(rule, []).append(_of("pytorch_optimizer", name, "pytorch_optimizer", many))
    for rule, (name, options) in _OPTIMI.items():
        found.setdefault(rule, []).append(_of("optimi", name, "torch-optimi", options))
    for rule, (name, options) in _HEAVYBALL.items():
        found.setdefault(rule, []).append(_of("heavyball", name, "heavyball", options))
    for rule, (module, name, package) in _AUTHORS.items():
        found.setdefault(rule, []).append(_of(module, name, package, {}))
    found.setdefault("AdamMini", []).append(other("adam_mini", Peer("adam_mini", _adam_mini, "adam-mini")))
    for rule, (name, options) in _OPTAX.items():
        found.setdefault(rule, []).append(Contender("optax", functools.partial(_optax, name, options)))
    return found


def _of(module: str, name: str, package: str, options: Mapping[str, Any]) -> Contender:
    """An optimizer for PyTorch; one with a mode is in that of training."""

    def make(library: Any, params: list[torch.nn.Parameter]) -> torch.optim.Optimizer:
        optimizer: Any = getattr(library, name)(params, **options)
        if hasattr(optimizer, "train"):
            optimizer.train()
        return optimizer  # type: ignore[no-any-return]

    return other(module, Peer(module, make, package))


def _adam_mini(library: Any, params: list[torch.nn.Parameter]) -> torch.optim.Optimizer:
    """Its blocks are by names: rows of what is called mlp, all of what is called norm."""
    named = [(f"{'mlp' if p.ndim > 1 else 'norm'}.{k}", p) for k, p in enumerate(params)]
    optimizer = library.Adam_mini(named, lr=1e-3, weight_decay=0.0, dim=8, n_heads=2, verbose=False)
    return optimizer  # type: ignore[no-any-return]


def _optax(name: str, options: Mapping[str, Any], shapes: Sequence[Shape]) -> Call:
    """A jitted step in float32 on the CPU, which may write over its parameters and its state."""
    try:
        jax, optax = importlib.import_module("jax"), importlib.import_module("optax")
    except ImportError as error:
        raise UnavailableError(f"{error}; pip install jax optax") from error
    cpu = jax.devices("cpu")[0]
    made = attrgetter(name)(optax)(learning_rate=1e-3, **options)
    params, grads = (
        [jax.device_put(0.1 * torch.randn(shape).numpy(), cpu) for shape in shapes] for _ in range(2)
    )
    # Copies, because one buffer cannot be given away twice, and a state may hold the parameters themselves.
    held = [params, jax.tree.map(jax.numpy.copy, made.init(params))]

    @functools.partial(jax.jit, donate_argnums=(0, 1))
    def step(params: Any, state: Any, grads: Any) -> Any:
        updates, state = made.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    def call() -> None:
        held[:] = jax.block_until_ready(step(*held, grads))

    return call
