"""`watch()`: which steps are measured, where reports go, and that nothing is left half done."""

from __future__ import annotations

import copy
import csv
import json
import math
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from panel_support import classifier, fit
from torch import nn
from torch_support import OPTIMIZERS, Make, everything, give_gradients, leaf, randn, simple, train

from adamas.torch import SGD, Adam, AdamW, DiagnosisWarning
from adamas.torch.report import Report

every_optimizer = pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)


def steps_of(seen: list[Report]) -> list[int | None]:
    return [report.step for report in seen]


@every_optimizer
def test_one_step_in_so_many_is_measured(make: Make) -> None:
    params = simple()
    opt: Any = make(params)
    seen: list[Report] = []
    watch = opt.watch(every=3, to=seen.append)
    train(opt, params, range(1, 8))
    assert steps_of(seen) == [3, 6]
    watch.every = 1
    train(opt, params, [8, 9])
    assert steps_of(seen) == [3, 6, 8, 9]
    assert steps_of([opt.report()]) == [9]
    assert [param.measured is not None for param in seen[-1].params] == [True, True]


@every_optimizer
def test_watching_changes_no_bit(make: Make) -> None:
    (one, other), opts = (simple(), simple()), []
    for params in (one, other):
        opts.append(make(params))
    opts[1].watch(every=2)  # type: ignore[attr-defined]
    for opt, params in zip(opts, (one, other), strict=True):
        train(opt, params, range(1, 6))
    assert everything(opts[0]) == everything(opts[1])


def test_several_watches_go_on_at_once_and_each_ends_alone() -> None:
    params = simple()
    opt = Adam(params)
    seen: tuple[list[Report], list[Report]] = ([], [])
    first = opt.watch(every=2, to=seen[0].append)
    opt.watch(every=3, to=seen[1].append)
    train(opt, params, range(1, 7))
    assert [steps_of(each) for each in seen] == [[2, 4, 6], [3, 6]]
    assert first is not None
    first.remove()
    first.remove()
    train(opt, params, range(7, 13))
    assert [steps_of(each) for each in seen] == [[2, 4, 6], [3, 6, 9, 12]]
    assert opt.watch(every=None) is None
    train(opt, params, range(13, 20))
    assert len(seen[1]) == 4
    assert not opt.report().watched


def test_a_step_that_is_skipped_puts_the_measuring_off() -> None:
    params = simple()
    opt = Adam(params, skip_nonfinite=True)
    seen: list[Report] = []
    opt.watch(every=2, to=seen.append)
    train(opt, params, [1])
    give_gradients(params, 2)
    params[0].grad.fill_(math.nan)  # type: ignore[union-attr]
    opt.step()
    assert seen == []
    train(opt, params, [3])
    assert steps_of(seen) == [2]
    train(opt, params, [4, 5])
    assert steps_of(seen) == [2, 4]


def test_a_group_that_is_added_later_is_reported_too() -> None:
    params, late = simple(), leaf(randn(7, seed=9))
    opt = Adam(params)
    seen: list[Report] = []
    opt.watch(every=1, to=seen.append)
    train(opt, params, [1, 2])
    opt.add_param_group({"params": [late], "lr": 0.5})
    train(opt, [*params, late], [3])
    assert [len(report.params) for report in seen] == [2, 2, 3]
    assert [param.lr for param in seen[-1].params] == [1e-3, 1e-3, 0.5]
    assert [(param.steps, param.behind) for param in seen[-1].params] == [(3, 0), (3, 0), (1, 2)]


def test_a_schedule_is_seen() -> None:
    params = simple()
    opt = Adam(params, lr=1.0)
    slower = torch.optim.lr_scheduler.ExponentialLR(opt, 0.5)
    seen: list[Report] = []
    opt.watch(every=1, to=seen.append)
    for k in range(3):
        train(opt, params, [k])
        slower.step()
    assert [report.params[0].lr for report in seen] == [1.0, 0.5, 0.25]


def test_a_loss_scale_is_divided_out() -> None:
    found = []
    for scale in (1.0, 64.0):
        params = simple()
        opt = Adam(params)
        scaler = torch.amp.GradScaler("cpu", init_scale=scale)
        seen: list[Report] = []
        opt.watch(every=1, to=seen.append)
        scaler.scale(sum((p**2).sum() for p in params)).backward()  # type: ignore[union-attr]
        scaler.step(opt)
        scaler.update()
        found.append([param.quantities()["grad_norm"] for param in seen[0].params])
    assert found[0] == pytest.approx(found[1])


def test_copies_and_checkpoints_are_not_watched() -> None:
    params = simple()
    opt = Adam(params)
    seen: list[Report] = []
    opt.watch(every=1, to=lambda report: seen.append(report))
    train(opt, params, [1])
    plain = Adam(simple())
    train(plain, plain.param_groups[0]["params"], [1])
    assert everything(plain)[1] == everything(opt)[1]
    for other in (copy.deepcopy(opt), pickle.loads(pickle.dumps(opt))):
        assert not other.report().watched
        train(other, other.param_groups[0]["params"], [2])
    assert len(seen) == 1
    opt.load_state_dict(opt.state_dict())
    train(opt, params, [2])
    assert steps_of(seen) == [1, 2]


# Where reports go.


def test_an_error_in_a_callback_is_raised_once_the_step_is_counted() -> None:
    params, others = simple(), simple()
    opt, plain = Adam(params), Adam(others)
    seen: list[Report] = []

    def broken(report: Report) -> None:
        raise KeyError("broken")

    opt.watch(every=2, to=broken)
    opt.watch(every=2, to=seen.append)
    train(opt, params, [1])
    with pytest.raises(KeyError, match="broken"):
        train(opt, params, [2])
    train(plain, others, [1, 2])
    assert everything(opt) == everything(plain)
    assert opt.report().step == 2
    train(opt, params, [3])


def test_a_callback_may_end_its_watch() -> None:
    params = simple()
    opt = Adam(params)
    seen: list[Report] = []

    def once(report: Report) -> None:
        seen.append(report)
        opt.watch(every=None)

    opt.watch(every=1, to=once)
    train(opt, params, [1, 2])
    assert len(seen) == 1


class Writer:
    """As SummaryWriter of TensorBoard."""

    def __init__(self) -> None:
        self.found: dict[tuple[str, int], float] = {}

    def add_scalar(self, tag: str, value: float, global_step: int) -> None:
        self.found[tag, global_step] = value


class Run:
    """As a run of wandb."""

    def __init__(self) -> None:
        self.found: list[dict[str, float]] = []

    def log(self, data: dict[str, float]) -> None:
        self.found.append(data)


def named(**options: Any) -> Any:
    model = nn.Linear(3, 2)
    return AdamW(model.named_parameters(), **options), list(model.parameters())


def test_a_writer_is_given_scalars_by_tag_and_step() -> None:
    opt, params = named()
    writer = Writer()
    opt.watch(every=2, to=writer)
    train(opt, params, range(1, 5))
    assert {step for _, step in writer.found} == {2, 4}
    assert writer.found["adamas/weight/grad_norm", 4] == pytest.approx(float(params[0].grad.norm()))
    quantities = opt.report().params[1].quantities()
    known = {f"adamas/bias/{name}" for name, value in quantities.items() if value is not None}
    assert {tag for tag, step in writer.found if step == 4 and "bias" in tag} == known


def test_a_run_is_given_one_dictionary_a_step() -> None:
    opt, params = named()
    run = Run()
    opt.watch(every=2, to=run)
    train(opt, params, range(1, 5))
    assert [found["adamas/step"] for found in run.found] == [2, 4]
    assert run.found[1]["adamas/bias/param_norm"] == pytest.approx(float(params[1].detach().norm()))


@pytest.mark.parametrize("name", ["log.jsonl", "log.csv"])
def test_a_file_is_given_a_row_for_each_parameter(name: str, tmp_path: Path) -> None:
    opt, params = named()
    opt.watch(every=2, to=tmp_path / name)
    train(opt, params, range(1, 5))
    text = (tmp_path / name).read_text(encoding="utf-8")
    lines = text.splitlines()
    rows: Any = csv.DictReader(lines) if name.endswith("csv") else map(json.loads, lines)
    rows = list(rows)
    assert [(int(row["step"]), row["name"]) for row in rows] == [
        (2, "weight"),
        (2, "bias"),
        (4, "weight"),
        (4, "bias"),
    ]
    assert float(rows[-1]["grad_norm"]) == pytest.approx(float(params[1].grad.norm()))


@pytest.mark.parametrize("name", ["log.jsonl", "log.csv"])
def test_a_line_that_a_crash_cut_is_replaced_and_the_file_goes_on(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    opt, params = named()
    opt.watch(every=1, to=str(path))
    train(opt, params, [1, 2])
    whole = path.read_bytes()
    path.write_bytes(whole[:-7])
    opt, params = named()
    opt.watch(every=1, to=path)
    train(opt, params, [1])
    lines = path.read_bytes().splitlines(keepends=True)
    before = whole.splitlines(keepends=True)[:-1]
    assert lines[: len(before)] == before
    assert len(lines) == len(before) + 2
    assert all(line.endswith(b"\n") for line in lines)


def test_what_is_not_finite_is_null_in_a_file(tmp_path: Path) -> None:
    opt, params = named()
    opt.watch(every=1, to=tmp_path / "log.jsonl")
    give_gradients(params, 1)
    params[0].grad.fill_(math.inf)
    with pytest.warns(DiagnosisWarning, match="not finite"):
        opt.step()
    first, second = map(json.loads, (tmp_path / "log.jsonl").read_text(encoding="utf-8").splitlines())
    assert (first["grad_norm"], first["nonfinite"], second["nonfinite"]) == (None, 6, 0)


def test_a_file_of_other_columns_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("a,b\n1,2\n", encoding="utf-8")
    with pytest.raises(ValueError, match="other columns"):
        Adam(simple()).watch(to=path)
    assert path.read_text(encoding="utf-8") == "a,b\n1,2\n"


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"every": 0}, ValueError, "every must be a positive number of steps, got 0"),
        ({"every": 2.5}, ValueError, "every must be a positive number"),
        ({"every": True}, ValueError, "every must be a positive number"),
        ({"to": 3}, TypeError, "to must be a function .* got 3"),
        ({"to": "no/such/folder/log.jsonl"}, ValueError, "in a folder that exists"),
        ({"to": "."}, ValueError, "the path of a file"),
        ({"model": 3}, TypeError, "model must be a torch.nn.Module, got int"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_watched(
    given: dict[str, Any], error: type[Exception], message: str
) -> None:
    opt = Adam(simple())
    with pytest.raises(error, match=message):
        opt.watch(**given)
    assert not opt.report().watched


# Warnings.


def test_a_warning_is_given_once_and_after_the_reports() -> None:
    model = classifier(0, uses_spare=False)
    opt = AdamW(model.named_parameters())
    seen: list[Report] = []
    opt.watch(every=2, to=seen.append)
    with pytest.warns(DiagnosisWarning) as said:
        fit(model, opt, 0, steps=20)
    assert [str(each.message).split(":")[0] for each in said] == ["spare.weight, spare.bias"]
    assert Path(said[0].filename).name == "panel_support.py"  # where step() was called
    assert [len(report.warnings) for report in seen] == [0] + [1] * 9


def test_a_warning_that_is_an_error_comes_after_the_step() -> None:
    opt, params = named()
    opt.watch(every=1)
    give_gradients(params, 1)
    params[0].grad.fill_(math.nan)
    with pytest.raises(DiagnosisWarning):
        opt.step()
    assert opt.report().step == 1
    assert [found.kind for found in opt.report().warnings] == ["nonfinite"]


def test_without_a_watch_what_can_be_known_is_told() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 2))
    opt = SGD([*model[0].parameters()], lr=0.1)
    model[0].weight = nn.Parameter(model[0].weight.detach().clone())
    kinds = {found.kind: found.names for found in opt.report(model).warnings}
    assert kinds == {"replaced": ("#0",), "missing": ("0.weight", "1.weight", "1.bias")}


def test_frozen_parameters_are_neither_missing_nor_unused() -> None:
    model = classifier(0, uses_spare=False)
    for p in model.spare.parameters():
        p.requires_grad_(False)
    opt = AdamW(model.named_parameters())
    opt.watch(every=2, model=model)
    fit(model, opt, 0, steps=10)
    assert opt.report().warnings == ()


def test_steps_in_the_backward_pass_are_not_watched() -> None:
    opt = Adam(simple())
    opt.watch()
    with pytest.raises(RuntimeError, match="not measured"):
        opt.step_in_backward()
    opt.watch(every=None)
    opt.step_in_backward()
    with pytest.raises(RuntimeError, match="not measured"):
        opt.watch()


def test_what_is_frozen_on_the_way_is_not_called_unused() -> None:
    model = classifier(0, uses_spare=False)
    opt = SGD(model.named_parameters(), lr=0.1)
    seen: list[Report] = []
    opt.watch(every=1, to=seen.append)
    fit(model, opt, 0, steps=1)
    for p in model.spare.parameters():
        p.requires_grad_(False)
    fit(model, opt, 0, steps=4)
    assert [sum(param.frozen for param in report.params) for report in seen] == [0, 2, 2, 2, 2]
    assert seen[-1].warnings == ()
