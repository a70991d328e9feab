"""Parameter groups by patterns on names: which options each parameter has, whatever wraps the model."""

from __future__ import annotations

import copy
import fnmatch
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torch.distributed as dist
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
from torch_support import CLASSES

import adamas.torch
from adamas.torch import AdamW, groups


class Block(nn.Module):
    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, add_bias_kv=True)
        self.norm = norm
        self.up = nn.Linear(8, 8)
        self.module = nn.Linear(8, 8)  # a wrapper's name, and a model's own too


class OwnNorm(nn.Module):
    """A normalization that torch knows nothing of, with a gain and a bias of more dimensions than its own."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(8))
        self.shift_bias = nn.Parameter(torch.zeros(2, 8))


class Model(nn.Module):
    """Tied, frozen and bare parameters, and norms of all kinds."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(9, 8)
        self.position = nn.Parameter(torch.zeros(1, 4, 8))
        self.blocks = nn.ModuleList(map(Block, (nn.LayerNorm((2, 8)), nn.BatchNorm2d(8), OwnNorm())))
        self.frozen = nn.Linear(8, 8).requires_grad_(False)
        self.head = nn.Linear(8, 9)
        self.head.weight = self.embed.weight
        self.scale = nn.Parameter(torch.ones(1))


MODEL = Model()
NAMES = [name for name, _ in MODEL.named_parameters()]


def options_of(found: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The options of each parameter by its name."""
    return {
        name: {key: value for key, value in group.items() if key not in ("params", "param_names")}
        for group in found
        for name in group["param_names"]
    }


def undecayed(**arguments: Any) -> set[str]:
    return {name for name, options in options_of(groups(MODEL, **arguments)).items() if options}


# Patterns.

FRAGMENTS = st.sampled_from(
    ["*", "*.bias", "blocks.*", "head.*", "*.weight", "blocks.[01].*", "embed.weight"]
)
OPTIONS = st.dictionaries(st.sampled_from(["lr", "weight_decay", "eps"]), st.sampled_from([0.0, 0.5]))


@given(st.lists(st.tuples(FRAGMENTS, OPTIONS), max_size=5, unique_by=lambda pair: pair[0]))
def test_of_each_option_the_last_match_wins(pairs: list[tuple[str, dict[str, float]]]) -> None:
    found = groups(MODEL, dict(pairs))
    tied = {"embed.weight": ["head.weight"]}
    expected = {
        name: {
            key: value
            for pattern, options in pairs
            if any(fnmatch.fnmatchcase(each, pattern) for each in [name, *tied.get(name, [])])
            for key, value in options.items()
        }
        for name in NAMES
    }
    assert options_of(found) == expected
    # One group for each set of options, in the order of the model.
    keys = [tuple(sorted(expected[name].items())) for name in NAMES]
    assert [tuple(sorted(options_of([group])[group["param_names"][0]].items())) for group in found] == list(
        dict.fromkeys(keys)
    )
    assert [NAMES.index(group["param_names"][0]) for group in found] == sorted(
        NAMES.index(group["param_names"][0]) for group in found
    )


@given(st.lists(st.tuples(FRAGMENTS, OPTIONS), max_size=3, unique_by=lambda pair: pair[0]))
def test_every_parameter_is_in_one_group_under_its_name(pairs: list[tuple[str, dict[str, float]]]) -> None:
    found = groups(MODEL, dict(pairs))
    given = {
        name: p for group in found for name, p in zip(group["param_names"], group["params"], strict=True)
    }
    expected = dict(MODEL.named_parameters())
    assert given.keys() == expected.keys()
    assert all(given[name] is expected[name] for name in NAMES)
    assert sum(len(group["params"]) for group in found) == len(NAMES)


def test_options_that_cannot_be_hashed_or_compared_are_passed_on() -> None:
    rate, betas = torch.tensor(0.5), [0.5, 0.9]
    found = groups(MODEL, {"*": {"lr": rate, "betas": betas}, "head.*": {"lr": torch.tensor(0.5)}})
    assert len(found) == 2
    assert next(g for g in found if "frozen.bias" in g["param_names"])["lr"] is rate
    assert all(group["betas"] is betas for group in found)


@pytest.mark.parametrize(
    ("pattern", "nearest"),
    [("haed.*", "head.bias"), ("scales", "scale"), ("blocks.1.nrom.weight", "blocks.1.norm.weight")],
)
def test_a_pattern_without_a_match_names_the_nearest(pattern: str, nearest: str) -> None:
    with pytest.raises(ValueError, match="matches no parameter") as error:
        groups(MODEL, {"*": {"lr": 1.0}, pattern: {"lr": 0.5}})
    assert repr(pattern) in str(error.value)
    assert repr(nearest) in str(error.value)


@pytest.mark.parametrize("options", [{"params": []}, {"param_names": []}, {3: 1}, [("lr", 1.0)], 0.1])
def test_what_is_no_option_is_refused(options: Any) -> None:
    with pytest.raises(TypeError, match=r"'head\.\*'"):
        groups(MODEL, {"head.*": options})


def test_what_is_no_model_is_refused() -> None:
    with pytest.raises(TypeError, match=r"torch\.nn\.Module, got list"):
        groups(list(MODEL.parameters()))  # type: ignore[arg-type]


# Wrappers: a pattern sees the names of the model itself.


@pytest.fixture
def one_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A process group of this process alone."""
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def compiled(model: nn.Module) -> Any:
    return torch.compile(model, backend="eager")


def compiled_inside(model: Any) -> nn.Module:
    model.blocks[1] = compiled(model.blocks[1])
    return checkpoint_wrapper(model)


WRAPPERS: dict[str, Callable[[nn.Module], nn.Module]] = {
    "DataParallel": nn.DataParallel,
    "DDP": nn.parallel.DistributedDataParallel,
    "compile": compiled,
    "compile inside, checkpoint": compiled_inside,
    "compile of DDP": lambda model: compiled(nn.parallel.DistributedDataParallel(model)),
    "DDP of compile": lambda model: nn.parallel.DistributedDataParallel(compiled(model)),
    "FSDP2": lambda model: fully_shard(model, mesh=init_device_mesh("cpu", (1,))),
}


@pytest.mark.usefixtures("one_process")
@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS)
def test_names_are_those_of_the_model_itself(wrap: Callable[[nn.Module], nn.Module]) -> None:
    patterns = {"blocks.1.*": {"lr": 0.5}, "*.module.weight": {"eps": 0.25}, "head.weight": {"lr": 0.125}}
    model = wrap(copy.deepcopy(MODEL))
    found = groups(model, patterns, no_decay=True)
    assert options_of(found) == options_of(groups(MODEL, patterns, no_decay=True))
    assert {id(p) for group in found for p in group["params"]} == set(map(id, model.parameters()))


@pytest.mark.usefixtures("one_process")
def test_flat_parameters_are_refused() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one process has nothing to shard
        model = FullyShardedDataParallel(nn.Linear(3, 3), device_id=torch.device("cpu"), use_orig_params=True)
    assert options_of(groups(model, {"weight": {"lr": 0.5}})) == {"weight": {"lr": 0.5}, "bias": {}}
    with pytest.raises(ValueError, match="fully_shard"):
        groups(model, no_decay=True)


# The usual choice of what is not decayed.


def kinds() -> dict[str, set[str]]:
    """By hand: what is a bias, a norm, an embedding."""
    biases = {name for name in NAMES if name.split(".")[-1] in ("bias", "in_proj_bias", "shift_bias")}
    biases |= {name for name in NAMES if name.endswith(("bias_k", "bias_v"))}
    gains = {"blocks.2.norm.gain", "scale"} | {
        f"blocks.{k}.norm.{own}" for k in (0, 1) for own in ("weight", "bias")
    }
    return {"bias": biases, "norm": gains, "embedding": {"embed.weight"}}


@pytest.mark.parametrize("chosen", [(), ("bias",), ("norm",), ("embedding",), ("bias", "embedding")])
def test_the_kinds_that_are_not_decayed(chosen: tuple[str, ...]) -> None:
    assert undecayed(no_decay=chosen) == set().union(*(kinds()[kind] for kind in chosen))


def test_all_kinds() -> None:
    assert undecayed(no_decay=True) == set().union(*kinds().values())
    assert undecayed(no_decay=False) == set()
    assert undecayed(no_decay="bias") == kinds()["bias"]


def test_it_is_applied_after_the_patterns() -> None:
    found = options_of(groups(MODEL, {"*": {"weight_decay": 0.5}}, no_decay=True))
    plain = set().union(*kinds().values())
    assert {name for name, options in found.items() if options["weight_decay"] == 0} == plain


def test_a_pattern_that_it_undoes_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"'embed\.\*' gives a weight_decay.*no_decay=\['bias', 'norm'\]"):
        groups(MODEL, {"embed.*": {"weight_decay": 0.5}}, no_decay=True)
    groups(MODEL, {"embed.*": {"weight_decay": 0.5}}, no_decay=["bias", "norm"])
    groups(MODEL, {"embed.*": {"weight_decay": 0}}, no_decay=True)


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="'bias', 'norm', 'embedding', got 'biases'"):
        groups(MODEL, no_decay=["biases"])


def test_parameters_without_dimensions_are_refused() -> None:
    model = nn.Sequential(nn.LazyLinear(3))
    assert options_of(groups(model)) == {"0.weight": {}, "0.bias": {}}
    with pytest.raises(ValueError, match=r"'0\.weight' has none yet"):
        groups(model, no_decay=True)


# Optimizers take them.


@pytest.mark.parametrize(
    "make", [*CLASSES.values(), torch.optim.AdamW], ids=lambda make: f"{make.__module__}.{make.__name__}"
)
def test_any_optimizer_takes_them(make: type[torch.optim.Optimizer]) -> None:
    model = copy.deepcopy(MODEL)
    opt = make(groups(model, {"head.*": {"lr": 0.5}}, no_decay=True), lr=0.25)  # type: ignore[call-arg]
    assert {name for group in opt.param_groups for name in group["param_names"]} == set(NAMES)
    assert {group["lr"] for group in opt.param_groups} == {0.25, 0.5}
    for p in model.parameters():
        p.grad = torch.ones_like(p) if p.requires_grad else None
    before = model.frozen.weight.clone()
    opt.step()
    assert torch.equal(model.frozen.weight, before)
    opt.load_state_dict(opt.state_dict())


def test_training_is_that_of_groups_made_by_hand() -> None:
    models = [copy.deepcopy(MODEL) for _ in range(2)]
    decayed: list[Tensor] = []
    others: list[Tensor] = []
    for name, p in models[0].named_parameters():
        (others if name in set().union(*kinds().values()) else decayed).append(p)
    by_hand = AdamW([{"params": decayed}, {"params": others, "weight_decay": 0}], lr=0.1, weight_decay=0.5)
    opts = [by_hand, AdamW(groups(models[1], no_decay=True), lr=0.1, weight_decay=0.5)]
    for model, opt in zip(models, opts, strict=True):
        for p in model.parameters():
            p.grad = torch.full_like(p, 0.5) if p.requires_grad else None
        opt.step()
    for p, q in zip(models[0].parameters(), models[1].parameters(), strict=True):
        assert torch.equal(p, q)


def test_options_of_the_step_are_still_refused() -> None:
    with pytest.raises(ValueError, match="'clip_norm' is an option of the whole optimizer"):
        adamas.torch.Adam(groups(MODEL, {"head.*": {"clip_norm": 1.0}}))
