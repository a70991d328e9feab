"""The family: every rule that there is, on three problems, by α and by the bytes of its state.

Not the paper's. A new file in `adamas.rules` is in it. Everything is chosen here, beforehand:

- α is searched, and nothing else: all other hyperparameters are at the rule's defaults. The sweep is
  around the rule's own default and grows while an end is near the best (see `Sweep`), so that no default is
  favoured. α is constant: a schedule would help all rules but the schedule-free ones, which average iterates.
- The cost is that of the last epoch's mini-batches, each as it was optimized; the best α has the lowest mean
  over the seeds. All rules see the same mini-batches from the same starting points: pairs are compared.
- A rule is judged by the ratio of its cost to Adam's, each at its best α. It is chosen on the seeds that are
  compared, for all alike; and the best of a class with many rules gains by their number.
- Runs are short, some hundred steps: rules that estimate their own stepsize from almost nothing, and those
  with a long memory, pay for their start here and may not in long runs.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from ..charts import Chart
from ..findings import Table
from ..problems import Option
from ..records import Records
from ..runs import Run
from . import NONE, Figure
from ._zoo import Sweep, Task, members
from ._zoo_charts import ranked, sweeps
from ._zoo_judged import BASE, LEVEL, Contest, findings, pays, ranking, summary


@dataclass(frozen=True)
class ZooPanel:
    """Every rule on every task.

    Args:
        tasks: the problems.
        seeds: every rule runs with each of them, two at least.
        step: the decades from one α to the next.
    """

    tasks: Sequence[Task]
    seeds: Sequence[int]
    step: float

    def sweeps(self) -> list[list[Sweep]]:
        """Return the sweeps of each task, in the order of the members."""
        every = members()
        return [[Sweep(task, each, self.seeds, self.step) for each in every] for task in self.tasks]

    def contest(self, records: Records) -> Contest:
        """Return the results of all."""
        found = [{each.member.name: each.result(records) for each in row} for row in self.sweeps()]
        return Contest(self.tasks, found)

    def runs(self, records: Records = NONE, failed: Collection[Run] = ()) -> list[Run]:
        return [run for row in self.sweeps() for each in row for run in each.runs(records)]

    def tables(self, records: Records) -> list[Table]:
        contest = self.contest(records)
        last = [
            Table(f"{task.title}, {task.note}: each rule at its best α", ranking(contest, place), [])
            for place, task in enumerate(self.tasks)
        ]
        title = (
            f"The family over all problems: final cost ÷ {BASE}'s, geometric mean, each rule at its best α; "
            f"better or worse where the 95 % interval says so, level within a factor of {LEVEL:g}"
        )
        whole = Table(title, summary(contest), findings(contest))
        return [whole, Table("Where more bytes of state a parameter pay", pays(contest), []), *last]

    def charts(self, records: Records) -> list[list[Chart]]:
        contest = self.contest(records)
        return [[ranked(contest)], *sweeps(contest)]


def softmax(data: str, note: str, count: int, batch: int, epochs: int) -> Task:
    """Return logistic regression, on the first `count` images; 0 means all."""
    options: dict[str, Option] = {"data": data, **({"count": count} if count else {})}
    said = _trained(note, batch, epochs)
    return Task("logistic", "Logistic regression", said, "images_softmax", options, batch, epochs)


def mlp(data: str, note: str, width: int, count: int, batch: int, epochs: int) -> Task:
    """Return two hidden layers, on the first `count` images; 0 means all."""
    options: dict[str, Option] = {"data": data, "width": width, **({"count": count} if count else {})}
    said = _trained(note, batch, epochs)
    return Task("perceptron", "Two hidden layers", said, "images_mlp", options, batch, epochs)


def transformer(data: str, note: str, characters: int, width: int, batch: int, epochs: int) -> Task:
    """Return a transformer of one layer, with a context as long as it is wide, tested on little text."""
    sizes = {"characters": characters, "context": width, "width": width}
    options: dict[str, Option] = {"data": data, **sizes, "layers": 1, "heads": 2, "held_out": 2**11}
    title, said = "Character-level transformer", _trained(note, batch, epochs)
    return Task("transformer", title, said, "text_transformer", options, batch, epochs)


def _trained(note: str, batch: int, epochs: int) -> str:
    return f"{note}; {epochs} epochs in mini-batches of {batch}"


FEW = "scikit-learn's digits, 1,437 images (not MNIST)"
BABBLE = "SYNTHETIC text of random words (not IMDB)"
FIGURE = Figure(
    "The family: what each rule is worth",
    {
        "demo": [
            ZooPanel(
                [
                    softmax("digits", FEW, 0, 128, 2),
                    mlp("digits", f"{FEW}; 32 units a layer", 32, 0, 128, 3),
                    transformer("babble", f"{BABBLE}; width 16", 3 * 2**10, 16, 32, 2),
                ],
                (0, 1, 2),
                1.0,
            )
        ],
        "quick": [
            ZooPanel(
                [
                    softmax("mnist", "MNIST, its first 20,000 images", 20_000, 128, 3),
                    mlp("mnist", "MNIST, its first 10,000 images; 64 units a layer", 64, 10_000, 128, 3),
                    transformer("imdb", "text of IMDB reviews; width 32", 2**15, 32, 32, 6),
                ],
                (0, 1, 2),
                0.5,
            )
        ],
        "paper": [
            ZooPanel(
                [
                    softmax("mnist", "MNIST, 60,000 images", 0, 128, 4),
                    mlp("mnist", "MNIST, 60,000 images; 128 units a layer", 128, 0, 128, 5),
                    transformer("imdb", "text of IMDB reviews; width 64", 2**18, 64, 32, 3),
                ],
                (0, 1, 2, 3, 4),
                0.5,
            )
        ],
    },
    in_paper=False,
)
