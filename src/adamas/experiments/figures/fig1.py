"""Figure 1: training cost of L2-regularized multinomial logistic regression (Kingma & Ba 2014, section 6.1).

Everything the paper leaves open is chosen here and in `_grid`, beforehand, and marked "open". The paper
gives: mini-batches of 128; stepsize α/√t; for each optimizer the best hyperparameters of a "dense grid"; (a)
MNIST as vectors of 784, 45 epochs; (b) IMDB, the 10,000 most frequent words, half of the features dropped at
random, 160 epochs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..charts import View
from . import Figure
from ._compare import Claim, Comparison
from ._grid import DIGITS_SHIFT, adagrad, adam, nesterov, powers, rmsprop
from ._search import halvings
from ._training import Grid, TrainingPanel

BATCH = 128
DROPOUT = 0.5
L2 = 1e-4  # open
SEEDS = (0, 1, 2)  # open

# The grids of α, in powers of ten: open. Steps of SGD are scaled by the gradient, so its α are larger.
ADAPTIVE = (-3.0, -2.5, -2.0, -1.5, -1.0, -0.5, 0.0)
NESTEROV = (-2.0, -1.5, -1.0, -0.5, 0.0, 0.5, 1.0)

# The thresholds for "alike" and "slower" are our choice, made beforehand: factors of the mean excess cost.
ALIKE = (1 / 1.5, 1.5)
AS_FAST = (0.0, 1.5)
SLOWER = (1.5, math.inf)
MUCH_SLOWER = (3.0, math.inf)


def grids(shift: float = 0.0) -> dict[str, Grid]:
    """Return the grid of each optimizer, moved by so many powers of ten.

    AdaGrad has two. The paper gives α/√t for these experiments without exception; but AdaGrad's steps shrink
    by themselves, and section 5 of the paper equates it, α fixed, with Adam at α/√t. So both are shown.
    """
    adaptive, sgd = powers(ADAPTIVE, shift), powers(NESTEROV, shift)
    return {
        "AdaGrad": Grid(adagrad(adaptive)),
        "AdaGrad (α fixed)": Grid(adagrad(adaptive), schedule="constant"),
        "RMSProp": Grid(rmsprop(adaptive)),
        "SGD Nesterov": Grid(nesterov(sgd)),
        "Adam": Grid(adam(adaptive)),
    }


def dense_claim(adagrad: str) -> Claim:
    """Return the claim on panel (a), with this curve as AdaGrad's."""
    return Claim(
        f"Adam converges like SGD with Nesterov momentum, and both faster than {adagrad}",
        "section 6.1, Figure 1 (left)",
        [
            Comparison("SGD Nesterov", "Adam", *ALIKE),
            Comparison(adagrad, "Adam", *SLOWER),
            Comparison(adagrad, "SGD Nesterov", *SLOWER),
        ],
    )


def sparse_claim(adagrad: str) -> Claim:
    """Return the claim on panel (b), with this curve as AdaGrad's."""
    return Claim(
        f"Adam converges as fast as {adagrad} on sparse features, and SGD Nesterov much slower",
        "section 6.1, Figure 1 (right)",
        [
            Comparison("Adam", adagrad, *AS_FAST),
            Comparison("SGD Nesterov", "Adam", *MUCH_SLOWER),
            Comparison("SGD Nesterov", adagrad, *MUCH_SLOWER),
        ],
    )


LINEAR = View("Linear, as in the paper")
# The axes of the paper's figure, which hold only for its data.
AXES = {"mnist": View("The paper's axes", 0.2, 0.7), "imdb": View("The paper's axes", 0.2, 0.5)}


def images(data: str, note: str, epochs: int, seeds: Sequence[int], shift: float = 0.0) -> TrainingPanel:
    """Return panel (a)."""
    chosen = grids(shift)
    del chosen["RMSProp"]
    return TrainingPanel(
        title="(a) Logistic regression on images",
        note=note,
        cost="training cost (mini-batch NLL)",
        problem="images_softmax",
        options={"data": data},
        l2=L2,
        batch=BATCH,
        epochs=epochs,
        seeds=seeds,
        grids=chosen,
        claims=[dense_claim("AdaGrad"), dense_claim("AdaGrad (α fixed)")],
        rungs=halvings(epochs),
        other=AXES.get(data, LINEAR),
    )


def words(data: str, note: str, epochs: int, seeds: Sequence[int]) -> TrainingPanel:
    """Return panel (b)."""
    return TrainingPanel(
        title="(b) Logistic regression on bags of words",
        note=note,
        cost="training cost (mini-batch NLL, dropout)",
        problem="words_softmax",
        options={"data": data, "dropout": DROPOUT},
        l2=L2,
        batch=BATCH,
        epochs=epochs,
        seeds=seeds,
        grids=grids(),
        claims=[sparse_claim("AdaGrad"), sparse_claim("AdaGrad (α fixed)")],
        rungs=halvings(epochs),
        other=AXES.get(data, LINEAR),
    )


MNIST = "MNIST, 60,000 images"
IMDB = "IMDB reviews, 10,000 words, 50 % dropout"
FIGURE = Figure(
    "Figure 1 of Adam: cost of L2-regularized logistic regression",
    {
        "demo": [
            images("digits", "scikit-learn's digits, 1,437 images (not MNIST)", 45, SEEDS, DIGITS_SHIFT),
            words("zipf", "SYNTHETIC reviews by Zipf's law (not IMDB), 50 % dropout", 20, SEEDS),
        ],
        "quick": [images("mnist", MNIST, 8, SEEDS), words("imdb", IMDB, 16, SEEDS)],
        "paper": [images("mnist", MNIST, 45, SEEDS), words("imdb", IMDB, 160, SEEDS)],
    },
)
