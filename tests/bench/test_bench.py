"""What the benchmarks compute and refuse; not how fast anything is."""

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="the benchmarks time torch optimizers")

import torch
from torch.optim.optimizer import register_optimizer_step_pre_hook

import adamas.torch
from adamas import formats
from adamas._tools.modules import load, names
from adamas.bench import machine, measure
from adamas.bench.contenders import low_bit
from adamas.bench.llama import PUBLISHED
from adamas.bench.measure import Call, interleave, ratio
from adamas.bench.pairs import Contender, Pair, check_workloads, compare
from adamas.bench.workloads import WORKLOADS, gpt2

SUITES = "adamas.bench.suites"


def nothing(shapes):
    return lambda: None


@pytest.fixture
def fast_triad(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "_TRIAD", 1000)


@pytest.mark.parametrize(
    ("name", "tensors", "parameters"),
    [
        ("rl-mlp", 6, 4_866),
        ("one-100k", 1, 100_000),
        ("many-small", 1000, 100_000),
        ("mnist-mlp", 6, 1_796_010),
        ("gpt2-mini", 52, 3_454_464),
        ("resnet18", 62, 11_689_512),
        ("resnet101", 314, 44_549_160),
        ("one-81m", 1, 81_000_000),
        ("gpt2-small", 148, 124_439_808),
        ("gpt2-xl", 580, 1_557_611_200),
        ("llama-7b", 291, 6_738_415_616),
    ],
)
def test_workloads_have_the_models_parameters(name: str, tensors: int, parameters: int) -> None:
    shapes = WORKLOADS[name]()
    assert len(shapes) == tensors
    assert sum(torch.Size(shape).numel() for shape in shapes) == parameters


def test_llamas_shapes_are_those_of_its_published_size() -> None:
    shapes = PUBLISHED[0].shapes()
    assert sorted(shapes.values()) == sorted(WORKLOADS["llama-7b"]())


def test_contenders_take_turns_and_each_is_first_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """A B C, B C A, C A B: so none always comes after the one that leaves the caches as it needs them."""
    called: list[str] = []
    contenders = {name: lambda name=name: called.append(name) for name in "abc"}
    monkeypatch.setattr(measure, "_repeats", lambda call, seconds: 1)
    seconds = interleave(contenders, rounds=4)
    assert "".join(called) == "abc" + "bca" + "cab" + "abc"
    assert {name: len(turns) for name, turns in seconds.items()} == dict.fromkeys("abc", 4)


def test_a_turn_is_as_many_calls_as_were_found_to_be_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[str] = []
    contenders = {name: lambda name=name: called.append(name) for name in "ab"}
    monkeypatch.setattr(measure, "_repeats", lambda call, seconds: {"a": 2, "b": 3}[name_of(call)])
    interleave(contenders, rounds=2)
    assert "".join(called) == "aabbb" + "bbbaa"


@pytest.mark.parametrize(
    ("once", "turn", "calls"), [(0.001, 0.02, 20), (0.001, 0.08, 80), (0.1, 0.02, 1), (0.1, 0.32, 4)]
)
def test_a_turn_has_as_many_calls_as_fill_it(
    once: float, turn: float, calls: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measure, "_time", lambda call, repeats: once)
    assert measure._repeats(lambda: None, turn) == calls


def name_of(call: Any) -> str:
    """The default argument of a contender above."""
    (name,) = call.__defaults__
    return str(name)


def test_a_ratio_is_the_median_over_neighbouring_turns() -> None:
    # a machine twice as slow in every second turn changes both times, and no ratio
    measured = ratio([3.0, 6.0, 3.0, 6.0], [1.0, 2.0, 1.0, 2.0])
    assert (measured.low, measured.median, measured.high) == (3.0, 3.0, 3.0)
    assert measured.settled
    assert not ratio([1.0, 5.0, 1.0, 5.0], [1.0, 1.0, 1.0, 1.0]).settled


@pytest.mark.usefixtures("fast_triad")
def test_a_pair_becomes_a_row() -> None:
    pair = Pair("rl-mlp", Contender("mine", nothing, bytes=28.0), Contender("theirs", nothing))
    done = compare("title", [pair], rounds=3)
    (row,) = done.rows
    assert (row["ours"], row["theirs"], row["parameters"]) == ("mine", "theirs", 4_866)
    assert row["GB/s"] > 0
    assert row["of triad"] is None  # it fits a cache
    assert done.plain()["machine"]["threads"] == torch.get_num_threads()


class Turns:
    """Stands for the clock: calls each contender a few times, and says how long each is to have taken."""

    def __init__(self) -> None:
        self.seconds = {"ours": 2.0, "theirs": 3.0, "triad": 1.0}
        self.calls: list[dict[str, Call]] = []

    def __call__(
        self, contenders: dict[str, Call], rounds: int, turn_seconds: float = 1.0
    ) -> dict[str, list[float]]:
        self.calls.append(contenders)
        for call in contenders.values():
            call()
            call()
        return {name: [self.seconds[name]] * rounds for name in contenders}


@pytest.fixture
def turns(monkeypatch: pytest.MonkeyPatch, fast_triad: None) -> Turns:
    """Nothing is timed: see `Turns`."""
    made = Turns()
    monkeypatch.setattr(measure, "interleave", made)
    monkeypatch.setattr(machine, "interleave", made)
    return made


PAIRED = [name for name in names(SUITES) if "compare" in vars(load(SUITES, name))]


@pytest.mark.parametrize("name", names(SUITES))
def test_every_suite_says_what_it_is_and_measures_by_default(name: str) -> None:
    suite = load(SUITES, name)
    check_workloads(suite.WORKLOADS)
    assert suite.WORKLOADS
    assert suite.__doc__


@pytest.mark.parametrize("name", PAIRED)
def test_every_suite_of_pairs_makes_a_row_of_each(name: str, turns: Turns) -> None:
    done = load(SUITES, name).run(["rl-mlp"], 3, False)
    assert done.title
    compared = [calls for calls in turns.calls if "ours" in calls]
    assert len(done.rows) == len(compared) > 0
    rows = {(row["ours"], row["theirs"]) for row in done.rows}
    assert len(rows) == len(done.rows)
    for row in done.rows:
        assert (row["workload"], row["parameters"]) == ("rl-mlp", 4_866)
        assert (row["ours µs"], row["theirs µs"]) == (2e6, 3e6)
        assert row["low"] == row["ratio"] == row["high"] > 0
    assert done.machine["triad GB/s"] == pytest.approx(12e-6)


@pytest.mark.parametrize(
    "name", [name for name in PAIRED if name != "rules"]
)  # which compares bytes a second
def test_a_ratio_of_a_suite_is_their_time_over_ours(name: str, turns: Turns) -> None:
    assert {row["ratio"] for row in load(SUITES, name).run(["rl-mlp"], 3, False).rows} == {1.5}


@pytest.mark.parametrize("name", PAIRED)
def test_ours_is_a_step_of_adamas_and_theirs_is_not_ours(name: str, turns: Turns) -> None:
    stepped: list[bool] = []
    hook = register_optimizer_step_pre_hook(
        lambda optimizer, args, more: stepped.append(type(optimizer).__module__.startswith("adamas"))
    )
    try:
        load(SUITES, name).run(["rl-mlp"], 3, False)
        for contenders in (calls for calls in turns.calls if "ours" in calls):
            for side in ("ours", "theirs"):
                stepped.clear()
                contenders[side]()
                ours_too = name in ("rules", "report")  # which compare ours with ours
                assert stepped == [side == "ours" or ours_too]
    finally:
        hook.remove()


LOW_BIT = [name for name in formats.names() if formats.get(name).bytes < 2]


@pytest.mark.parametrize("name", ["formats", "cache"])
def test_a_format_in_a_name_is_that_of_the_optimizer(
    name: str, turns: Turns, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[tuple[torch.dtype, str]] = []
    adam = adamas.torch.Adam

    def recorded(params: list[torch.nn.Parameter], state_format: str = "float32") -> torch.optim.Optimizer:
        made.append((params[0].dtype, state_format))
        return adam(params, state_format=state_format)

    monkeypatch.setattr(adamas.torch, "Adam", recorded)
    rows = load(SUITES, name).run(["rl-mlp"], 3, False).rows
    float32, bfloat16 = torch.float32, torch.bfloat16
    expected = {
        "adamas float32": (float32, "float32"),
        "adamas bfloat16 state": (float32, "bfloat16"),
        "adamas bfloat16": (bfloat16, "bfloat16"),
    }
    expected |= {f"adamas {name} state": (float32, name) for name in LOW_BIT}
    assert made == [expected[row["ours"]] for row in rows]
    assert {row["ours"] for row in rows} >= {"adamas float32", "adamas bfloat16", "adamas float8 state"}
    assert {row["ours"] for row in rows if "state" in row["ours"]} >= {f"adamas {n} state" for n in LOW_BIT}


def test_the_cache_suite_measures_on_one_thread_and_gives_the_others_back(
    turns: Turns, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        done = load(SUITES, "cache").run(["rl-mlp"], 3, False)
        assert done.machine["threads"] == 1
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)


def test_bytes_of_a_contender_are_those_of_its_format() -> None:
    float8 = next(each for each in low_bit() if each.name == "adamas float8 state")
    assert float8.bytes == 12 + 4 * (1 + 4 / 128)


def test_the_memory_suite_counts_the_bytes_of_the_state(fast_triad: None) -> None:
    (row,) = load(SUITES, "memory").run(["mnist-mlp"], 3, False).rows
    assert (row["workload"], row["parameters"]) == ("mnist-mlp", 1_796_010)
    assert row["torch"] == row["float32"] == 8
    assert row["bfloat16"] == 4
    assert row["with average"] == 12
    assert 2 < row["float8"] < 2.2
    assert 1 < row["float4"] < 1.2
    # Adam refuses one, and the other is wider than what is computed
    assert row.keys() >= set(formats.names()) - {"float16", "float64"}
    assert "float16" not in row


def test_the_cold_suite_starts_processes_with_empty_and_with_full_caches(
    monkeypatch: pytest.MonkeyPatch, fast_triad: None
) -> None:
    suite = load(SUITES, "cold")
    caches: list[str] = []

    def first_step(cache: str) -> float:
        caches.append(cache)
        return 2.0 if caches.count(cache) == 1 else 1.0

    monkeypatch.setattr(suite, "_first_step", first_step)
    rows = suite.run(["rl-mlp"], 3, False).rows
    assert [(row["kernel cache"], row["seconds"], row["fastest"], row["slowest"]) for row in rows] == [
        ("empty", 2.0, 2.0, 2.0),
        ("full", 1.0, 1.0, 1.0),
    ]
    first, *empty, _, _, _ = caches
    assert len({first, *empty}) == 4
    assert caches[4:] == [first] * 3


@pytest.mark.slow
def test_a_cold_process_takes_a_first_step(tmp_path: Path) -> None:
    assert load(SUITES, "cold")._first_step(str(tmp_path)) > 0
    assert list(tmp_path.rglob("*"))


def test_unknown_workloads_are_listed() -> None:
    with pytest.raises(ValueError, match=r"unknown workload 'none'; there are rl-mlp, one-100k, many-small"):
        check_workloads(["none"])


def test_a_loop_trains_a_transformer_of_the_workload() -> None:
    build, batch = load(SUITES, "loop")._TRAINED["gpt2-mini"]
    assert batch > 1
    shapes = gpt2(1, 64, 50, 8)
    model, loss = build(shapes, batch)
    assert [tuple(p.shape) for p in model.parameters()] == shapes
    loss().backward()
    assert all(p.grad is not None for p in model.parameters())


def test_a_loop_is_refused_for_what_is_no_perceptron() -> None:
    with pytest.raises(ValueError, match=r"a training loop is there for .*, not for .resnet18"):
        load(SUITES, "loop").run(["resnet18"], 3, False)
