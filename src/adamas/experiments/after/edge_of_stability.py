r"""Full-batch Adam trains where it is just about to diverge: the preconditioned edge of stability.

While v changes little, a step is one of a linear map. With P = diag(√v̂ + ε) and the Hessian H, along an
eigenvector of P⁻¹ H of eigenvalue λ,

    m ← β1 m + (1 - β1) λ x,    x ← x - η m,

whose characteristic polynomial is z² - (1 + β1 - a) z + β1, a = η (1 - β1) λ. At z = -1 it is 2 + 2 β1 - a:
so the map is stable up to

    λ = (2 + 2 β1) / ((1 - β1) η), 38 / η at β1 = .9.

A network's λ grows in training until it is there; then x oscillates, which makes v, and so P, grow, and it
hovers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from scipy import stats
from scipy.sparse.linalg import LinearOperator, eigsh

from adamas.backends import reference
from adamas.rules import Adam

from ..charts import BLUE, GREEN, ORANGE, Chart, Level, Line, Style
from ..claims._steps import Array
from ..datasets import digits
from ..findings import verdict
from . import Comparison, Learned, Value

ALMOST_ONE = 1 - 2.0**-53  # β2 that leaves v as it is
DIMENSIONS, STEPS = 12, 400  # of the quadratic
SHARES = (0.999, 1.001)  # of the threshold
WITHIN = 0.005  # of the factor of a step, which the oscillation of a complex pair blurs
EXAMPLES, HIDDEN = 300, 16  # digits, and the network's width
# Each training: the rule, and steps enough to be at the edge for their last third.
TRAININGS = {
    0.0: (Adam(1e-3, 0.0, 0.99, 1e-8), 400),
    0.5: (Adam(3e-3, 0.5, 0.99, 1e-8), 500),
    0.9: (Adam(1e-2, 0.9, 0.99, 1e-8), 800),
}
SEEDS, EVERY = (0, 1), 25  # steps between measurements
HOVERS = (0.9, 1.1)  # our threshold: the mean λ of the last third, in shares of the edge
SURE = 0.95  # that the mean over trainings is in the interval that is given


def threshold(beta1: float, alpha: float) -> float:
    """Return the largest stable eigenvalue of P⁻¹ H."""
    return (2 + 2 * beta1) / ((1 - beta1) * alpha)


def factor(beta1: float, share: float) -> float:
    """Return the factor of a step at so large a share of the threshold, by the characteristic polynomial."""
    a = share * (2 + 2 * beta1)
    return float(np.abs(np.roots([1.0, -(1 + beta1 - a), beta1])).max())


def frozen(beta1: float, share: float) -> float:
    """Return the factor by which x grows or shrinks in a step on a quadratic, with v kept as it is.

    H is random, and v too; α is chosen so that the largest eigenvalue of P⁻¹ H is that share of the edge.
    The part of x along its eigenvector is followed, by least squares over the last half.
    """
    random = np.random.default_rng(0)
    factors = random.normal(size=(DIMENSIONS, DIMENSIONS))
    hessian, v = factors @ factors.T, random.uniform(0.1, 10, DIMENSIONS)
    eigenvalues, vectors = np.linalg.eigh(hessian / v**0.25 / v[:, None] ** 0.25)
    rule = Adam(
        share * threshold(beta1, 1.0) / eigenvalues[-1], beta1, ALMOST_ONE, 0.0, bias_correction=False
    )
    x = 1e-30 * random.normal(size=DIMENSIONS)  # whose squares are nothing to v
    taken = reference.trajectory(rule, x, lambda t, p: hessian @ p, STEPS, slots=(0 * x, v))
    along = np.abs([vectors[:, -1] @ (v**0.25 * state.p) for state in taken])[STEPS // 2 :]
    return float(np.exp(np.polyfit(np.arange(len(along)), np.log(along), 1)[0]))


class Network:
    """The mean cost of a tanh network on digits, of one flat array of parameters."""

    def __init__(self, seed: int) -> None:
        images = digits.load()
        self.x = torch.from_numpy(images.train[:EXAMPLES].reshape(EXAMPLES, -1).astype(np.float64))
        self.y = torch.nn.functional.one_hot(torch.from_numpy(images.train_labels[:EXAMPLES]), 10).double()
        self.shapes = [(self.x.shape[1], HIDDEN), (HIDDEN,), (HIDDEN, 10), (10,)]
        random = np.random.default_rng(seed)
        parts = [random.normal(size=shape) / shape[0] ** 0.5 * (len(shape) > 1) for shape in self.shapes]
        self.start = np.concatenate([part.ravel() for part in parts])

    def cost(self, flat: torch.Tensor) -> torch.Tensor:
        """Return half the mean squared error against one-hot labels."""
        sizes = [int(np.prod(shape)) for shape in self.shapes]
        parts = (part.view(shape) for part, shape in zip(flat.split(sizes), self.shapes, strict=True))
        first, bias, second, last = parts
        error = torch.tanh(self.x @ first + bias) @ second + last - self.y
        return torch.mean(0.5 * (error**2).sum(1))

    def gradient(self, at: Array) -> Array:
        """Return the gradient."""
        flat = torch.from_numpy(at).requires_grad_()
        return torch.autograd.grad(self.cost(flat), flat)[0].numpy()

    def hessian(self, at: Array) -> Callable[[Array], Array]:
        """Return the product of the Hessian with a vector."""
        flat = torch.from_numpy(at).requires_grad_()
        (gradient,) = torch.autograd.grad(self.cost(flat), flat, create_graph=True)

        def product(vector: Array) -> Array:
            along = torch.from_numpy(np.ascontiguousarray(vector.ravel()))
            return torch.autograd.grad(gradient, flat, along, retain_graph=True)[0].numpy()

        return product


def largest_eigenvalue(product: Callable[[Array], Array], scale: Array, guess: Array) -> tuple[float, Array]:
    """Return the largest eigenvalue of diag(`scale`)⁻¹ H, and a vector to begin the next search."""
    root = scale**-0.5
    similar = LinearOperator((len(root),) * 2, matvec=lambda y: root * product(root * y.ravel()))
    (value,), vectors = eigsh(similar, k=1, which="LA", v0=guess, tol=1e-3)
    return float(value), vectors[:, 0]


def train(rule: Adam, steps: int, seed: int) -> Array:
    """Return the largest eigenvalue of P⁻¹ H at every `EVERY` steps of a training, in shares of the edge."""
    network = Network(seed)
    guess = np.ones_like(network.start)
    shares = []
    taken = reference.trajectory(rule, network.start, lambda t, p: network.gradient(p), steps)
    for t, p, (_, v) in taken:
        if t and t % EVERY == 0:
            scale = np.sqrt(v / (1 - rule.beta2**t)) + rule.eps
            value, guess = largest_eigenvalue(network.hessian(p), scale, guess)
            shares.append(value / threshold(rule.beta1, rule.lr))
    return np.array(shares)


def late(shares: Array) -> Array:
    """Return the mean of the last third of each row."""
    return np.asarray(shares[:, 2 * shares.shape[1] // 3 :].mean(axis=1))


def measure() -> Comparison:
    """Compare factors on both sides of the threshold, and the eigenvalue in trainings with it."""
    cases = [(beta1, share) for beta1 in TRAININGS for share in SHARES]
    found = {case: frozen(*case) for case in cases}
    values = [
        Value(
            f"v frozen at {s:g} × the edge, β1 = {beta1:g}: factor a step", factor(beta1, s), found[beta1, s]
        )
        for beta1, s in cases
    ]
    paths = {
        beta1: np.array([train(rule, steps, seed) for seed in SEEDS])
        for beta1, (rule, steps) in TRAININGS.items()
    }
    for beta1, (rule, _) in TRAININGS.items():
        edge, mean = threshold(beta1, rule.lr), float(late(paths[beta1]).mean())
        values.append(Value(f"λ in training, β1 = {beta1:g}, η = {rule.lr:g}", edge, mean * edge))
    ends = np.concatenate([late(shares) for shares in paths.values()])
    low, high = stats.t.interval(SURE, len(ends) - 1, ends.mean(), stats.sem(ends))
    sides = [
        (found[case] < 1) == (case[1] < 1) and abs(found[case] / factor(*case) - 1) < WITHIN for case in cases
    ]
    begin = max(float(shares[:, 0].max()) for shares in paths.values())
    text = (
        f"with v frozen, {SHARES[0]:g} of the threshold converges and {SHARES[1]:g} diverges in "
        f"{sum(sides)} of {len(sides)} cases; in {len(ends)} trainings on {EXAMPLES} digits λ rises from at "
        f"most {begin:.2f} of it and is {ends.mean():.3f} of it in their last third ({100 * SURE:g} % "
        f"interval {low:.3f} to {high:.3f}; our threshold: {HOVERS[0]:g} to {HOVERS[1]:g})"
    )
    return Comparison(
        text, verdict([all(sides), begin < HOVERS[0], hovers(low, high)]), values, [_chart(paths)]
    )


def hovers(low: float, high: float) -> bool | None:
    """Return whether an interval is within `HOVERS`; None where an end of that lies in it."""
    if HOVERS[0] <= low and high <= HOVERS[1]:
        return True
    return False if high < HOVERS[0] or low > HOVERS[1] else None


def _chart(paths: Mapping[float, Array]) -> Chart:
    lines = [
        Line(f"β1 = {beta1:g}", EVERY * np.arange(1.0, 1 + shares.shape[1]), shares, Style(color))
        for (beta1, shares), color in zip(paths.items(), (GREEN, ORANGE, BLUE), strict=True)
    ]
    levels = [Level("threshold", 1.0, Style("#000000", "dash"))]
    note = f"full-batch Adam on {EXAMPLES} digits, β2 = .99, η of each β1 as in the table"
    y = "λ / threshold"
    return Chart("Largest eigenvalue of P⁻¹ H", note, "step", y, lines, levels, whole_x=True)


CLAIM = Learned(
    "Full-batch Adam trains at its edge of stability: the largest eigenvalue of the preconditioned Hessian "
    "rises to the value beyond which steps with this preconditioner diverge, and hovers there",
    "Cohen et al. 2022, Adaptive Gradient Methods at the Edge of Stability, arXiv 2207.14484, abstract, "
    "which gives 38 / η at β1 = .9; derived here for any β1",
    "λ_max(P⁻¹ H) → (2 + 2 β1) / ((1 - β1) η), P = diag(√v̂ + ε)",
    measure,
)
