"""What the suite `codes` measures, of codes whose figures are known."""

import numpy as np
import pytest

pytest.importorskip("torch", reason="the benchmarks time torch optimizers")

from adamas import formats
from adamas.bench import measure
from adamas.bench.suites import codes
from adamas.bench.suites.codes import Code, of_format, of_levels

LEVELS = {code.name: code for code in codes._others()}
SCALED = [name for name in formats.names() if formats.get(name).scaled]
EXACT = Code("exact", lambda x, chance: x)


def test_exact_momentum_has_no_error() -> None:
    assert codes.noise(EXACT, 0.9, 20) == codes.drift(EXACT, 20) == codes.beside(EXACT, 1e20, 20) == 0
    assert codes.spike(EXACT, 1e20) == 0


@pytest.mark.parametrize("name", SCALED)
def test_the_code_of_a_format_keeps_zero_and_the_mean(name: str) -> None:
    code, chance = of_format(formats.get(name)), np.random.default_rng(0)
    x = chance.standard_normal((1, formats.BLOCK))
    kept = np.mean([code.keep(x, chance) for _ in range(4_000)], axis=0)
    np.testing.assert_allclose(kept, x, atol=4 * np.abs(x).max() / 4 / 4_000**0.5)
    assert not code.keep(0 * x, chance).any()


@pytest.mark.parametrize("code", LEVELS.values(), ids=LEVELS)
def test_a_code_of_levels_fits_a_byte_and_keeps_the_largest(code: Code) -> None:
    x = np.concatenate([np.geomspace(1e-7, 1, 20_000), -np.linspace(0, 1, 20_000)])[None]
    kept = np.unique(np.abs(code.keep(x, np.random.default_rng(0))))
    assert 127 <= len(kept) <= 129  # without a negative zero and with one largest, 256 codes
    assert (kept[0], kept[-1]) == (0, 1)


def test_float8_is_the_code_that_it_is_said_to_be() -> None:
    x = np.geomspace(1e-7, 1, 4_000)[None]
    floats = of_levels("same", codes._floats(4, 3))
    random = np.random.default_rng
    ours, theirs = (np.unique(code.keep(x, random(0))) for code in (of_format(formats.get("float8")), floats))
    np.testing.assert_allclose(ours, theirs, rtol=2e-6, atol=1e-12)


def test_rounding_to_nearest_drifts_where_the_mean_is_kept_otherwise() -> None:
    nearest, kept = LEVELS["s1e4m3, nearest"], of_format(formats.get("float8"))
    assert abs(codes.drift(nearest, 200)) > 0.3 > 0.1 > abs(codes.drift(kept, 200))
    assert codes.spike(nearest, 1e3) == 600 > 100 > codes.spike(kept, 1e3) > 0


def test_every_code_is_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "_TRIAD", 1000)
    monkeypatch.setattr(codes, "_BLOCKS", 1)
    monkeypatch.setattr(codes, "_SPIKES", (3,))
    rows = codes.run(["rl-mlp"], 1, False).rows
    assert [row["code"] for row in rows] == [*SCALED, *LEVELS]
    assert all(np.isfinite(list(row.values())[1:]).all() for row in rows)
