"""Quick compilation: the tests of this folder compile a hundred programs and run each of them once."""

from collections.abc import Iterator

import pytest

pytest.importorskip("optax", reason="optax is not installed")
import jax


@pytest.fixture(autouse=True)
def _quick_compilation(request: pytest.FixtureRequest) -> Iterator[None]:
    """All passes run where a test is marked `optimized`: for what they could spoil."""
    jax.config.update("jax_disable_most_optimizations", request.node.get_closest_marker("optimized") is None)
    yield
    jax.config.update("jax_disable_most_optimizations", False)
