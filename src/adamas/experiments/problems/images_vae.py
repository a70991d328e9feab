"""A variational auto-encoder on pixels (Kingma & Ba 2014, section 6.4, after Kingma & Welling 2013)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain

import torch
from torch import nn
from torch.func import functional_call
from torch.nn.functional import binary_cross_entropy_with_logits

from .. import datasets
from ._network import CHUNK, Affine, Softplus, by_member, seeded

STACKED = True


@dataclass(frozen=True)
class AutoEncoder:
    """The problem: the evidence lower bound, negated, an upper bound on -log p(x) of an image, in nats.

    The latent variable z has the prior N(0, I) and the posterior N(μ(x), diag σ²(x)). Pixels are not
    binarized: x in [0, 1] is the chance of a white pixel, and the likelihood of z is the expectation of a
    Bernoulli log-likelihood over such images. So the only noise is that of z.

    Args:
        encoder: from pixels (examples, pixels) to μ and log σ², (examples, 2 latent).
        decoder: from z (examples, latent) to the log-odds of the pixels, (examples, pixels).
        latent: dimensions of z.
        train, test: pixels in [0, 1], float32, (examples, pixels).
    """

    encoder: nn.Module
    decoder: nn.Module
    latent: int
    train: torch.Tensor
    test: torch.Tensor

    @property
    def parameters(self) -> list[torch.Tensor]:
        return list(chain(self.encoder.parameters(), self.decoder.parameters()))

    @property
    def examples(self) -> int:
        return len(self.train)

    def cost(self, batch: torch.Tensor, noise: torch.Generator) -> torch.Tensor:
        return self.bounds(self.train[batch], self._normal(len(batch), noise)).mean()

    def costs(
        self, stack: Sequence[torch.Tensor], batch: torch.Tensor, noise: torch.Generator
    ) -> torch.Tensor:
        """Return the mean bounds of a stack of auto-encoders."""
        bounds = self._stacked_bounds(stack, self.train[batch], self._normal(len(batch), noise))
        return torch.stack([each.mean() for each in bounds])

    def _stacked_bounds(
        self, stack: Sequence[torch.Tensor], pixels: torch.Tensor, normal: torch.Tensor
    ) -> list[torch.Tensor]:
        """Return the bounds of each member, (examples,); see `by_member`."""
        parts = iter(stack)
        encoder, decoder = (
            partial(functional_call, half, {name: next(parts) for name, _ in half.named_parameters()})
            for half in (self.encoder, self.decoder)
        )
        posteriors = encoder(pixels)
        logits = decoder(by_member(lambda each: _drawn(each, normal), posteriors))
        pairs = zip(logits.unbind(), posteriors.unbind(), strict=True)
        return [_bound(*pair, pixels) for pair in pairs]

    @torch.no_grad()
    def evaluations(self, stack: Sequence[torch.Tensor]) -> list[Mapping[str, float]]:
        """Return what `evaluate` measures of each of a stack of auto-encoders."""
        noise = torch.Generator().manual_seed(0)
        first = self.train[: len(self.test)]
        found = {}
        for name, pixels in (("train", first), ("test", self.test)):
            chunks = zip(pixels.split(CHUNK), self._normal(len(pixels), noise).split(CHUNK), strict=True)
            bounds = [torch.stack(self._stacked_bounds(stack, *chunk)) for chunk in chunks]
            found[f"{name}_bound"] = torch.cat(bounds, dim=1).mean(dim=1, dtype=torch.float64).tolist()
        return [dict(zip(found, each, strict=True)) for each in zip(*found.values(), strict=True)]

    def evaluate(self) -> Mapping[str, float]:
        """Return the mean bound on the test images, and on as many of the first training images.

        The noise is always the same, independent of the noise in training.
        """
        noise = torch.Generator().manual_seed(0)
        first = self.train[: len(self.test)]
        return {
            f"{name}_bound": self._mean_in_chunks(pixels, self._normal(len(pixels), noise))
            for name, pixels in (("train", first), ("test", self.test))
        }

    def bounds(self, pixels: torch.Tensor, normal: torch.Tensor) -> torch.Tensor:
        """Return `negative_bounds`, (examples,)."""
        return negative_bounds(self.encoder(pixels), normal, pixels, self.decoder)

    def _normal(self, count: int, noise: torch.Generator) -> torch.Tensor:
        return torch.randn(count, self.latent, generator=noise).to(self.train.device)

    @torch.no_grad()
    def _mean_in_chunks(self, pixels: torch.Tensor, normal: torch.Tensor) -> float:
        chunks = zip(pixels.split(CHUNK), normal.split(CHUNK), strict=True)
        return torch.cat([self.bounds(*chunk) for chunk in chunks]).mean(dtype=torch.float64).item()


def negative_bounds(
    posterior: torch.Tensor,
    normal: torch.Tensor,
    pixels: torch.Tensor,
    decoder: Callable[[torch.Tensor], torch.Tensor],
) -> torch.Tensor:
    """Return each image's negative bound, (examples,), for z = μ + σ `normal` (Kingma & Welling, 2.4).

    Args:
        posterior: μ and log σ², (examples, 2 latent).
    """
    return _bound(decoder(_drawn(posterior, normal)), posterior, pixels)


def _drawn(posterior: torch.Tensor, normal: torch.Tensor) -> torch.Tensor:
    mean, log_variance = posterior.chunk(2, dim=1)
    return mean + torch.exp(log_variance / 2) * normal


def _bound(logits: torch.Tensor, posterior: torch.Tensor, pixels: torch.Tensor) -> torch.Tensor:
    mean, log_variance = posterior.chunk(2, dim=1)
    reconstruction = binary_cross_entropy_with_logits(logits, pixels, reduction="none").sum(dim=1)
    # KL divergence of the posterior from the prior, in closed form (Kingma & Welling, appendix B).
    divergence = (mean**2 + log_variance.exp() - 1 - log_variance).sum(dim=1) / 2
    bounds: torch.Tensor = reconstruction + divergence
    return bounds


def identity(data: str, hidden: int, latent: int) -> str:
    """Return the images' name and checksum; `data` names an image set."""
    return datasets.images(data).identity()


def prepare(data: str, hidden: int, latent: int) -> None:
    """Get and check the files."""
    datasets.images(data).load()


def build(seed: int, data: str, hidden: int, latent: int) -> AutoEncoder:
    """Build with `hidden` softplus units in each half (500 in the paper) and `latent` dimensions of z (50).

    The initialization is torch's default; the paper does not give one.
    """
    loaded = datasets.images(data).load()
    pixels = loaded.train.shape[1]

    def half(inputs: int, outputs: int) -> nn.Module:
        return nn.Sequential(Affine(inputs, hidden), Softplus(), Affine(hidden, outputs))

    encoder, decoder = seeded(lambda: (half(pixels, 2 * latent), half(latent, pixels)), seed)
    train, test = torch.from_numpy(loaded.train), torch.from_numpy(loaded.test)
    return AutoEncoder(encoder, decoder, latent, train, test)
