"""`adamas info`: versions, the machine, the folders in use; the memory of a model on many ranks."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Annotated, Any

import typer

from ._app import RESULTS, Json, app
from ._output import console, ending, progress_console, show_json
from ._table import show_facts, show_table, show_text

# Packages that are used where they are installed, beyond those that numbers can depend on.
_GUESTS = ("triton", "jax", "optax")


@app.command()
def info(
    plan: Annotated[
        list[float] | None,
        typer.Option(
            metavar="N", help="Instead: plan to train so many parameters, as 70e9; may be given again."
        ),
    ] = None,
    ranks: Annotated[
        list[int] | None,
        typer.Option(
            metavar="N", help="Of the plan: processes, one a device; may be given again.", show_default="1"
        ),
    ] = None,
    replicas: Annotated[
        int, typer.Option(metavar="N", min=1, help="Of the plan: ranks with the same shard.")
    ] = 1,
    optimizer: Annotated[
        str, typer.Option(metavar="NAME", help="Of the plan: a class of adamas.torch.")
    ] = "AdamW",
    state: Annotated[
        str | None, typer.Option(metavar="NAME", help="Of the plan: state_format.", show_default="float32")
    ] = None,
    dtype: Annotated[
        str, typer.Option(metavar="NAME", help="Of the plan: parameters and gradients.")
    ] = "bfloat16",
    average: Annotated[
        float | None, typer.Option(metavar="X", help="Of the plan: average.", show_default="none")
    ] = None,
    clip: Annotated[bool, typer.Option("--clip", help="Of the plan: with clip_norm.")] = False,
    bandwidth: Annotated[
        float | None,
        typer.Option(metavar="X", help="Of the plan: of a rank's memory in GB/s.", show_default="unknown"),
    ] = None,
    simulate: Annotated[
        bool,
        typer.Option(
            "--simulate", help="Of the plan: count what a simulated step exchanges, beside the formula."
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Show versions, the CPU and what kernels use of it, BLAS, CUDA, and the folders that are really used.

    With --plan: what training a Llama of that size would take on each rank, with nothing allocated.

    Exit status: 0 shown; 2 bad input: an unknown optimizer, dtype, format or size.
    """
    if plan:
        from ._plan import Asked

        asked = Asked(optimizer, state, dtype, average, clip, replicas, bandwidth, simulate)
        _show_plans(plan, ranks or [replicas], asked, as_json)
        return
    from adamas._tools.versions import PACKAGES, versions

    facts = {**versions((*PACKAGES, *_GUESTS)), **_cpu(), **_libraries(), **_folders()}
    if as_json:
        show_json(facts)
    else:
        show_facts(console(), facts)


def _show_plans(sizes: list[float], ranks: list[int], asked: Any, as_json: bool) -> None:
    from ._plan import ASSUMED, plain, plans, row

    with ending(progress_console(), ValueError):
        found = plans(sizes, ranks, asked)
        rows = [row(planned, sent, asked) for _, planned, sent in found]
    if as_json:
        show_json([plain(*each, asked) for each in found])
        return
    out = console()
    if len(found) > 1:
        show_table(out, "GB a rank", rows)
    else:
        ((size, planned, sent),) = found
        show_text(out, f"{size.name}\n{planned}")
        if sent is not None:
            show_text(out, f"sent in a simulated step: {sent.total:,} bytes")
            show_text(out, f"by the formula:           {planned.exchange.total:,} bytes")
        if asked.bandwidth is not None:
            seconds = planned.seconds(asked.bandwidth * 1e9)
            show_text(out, f"a step at {asked.bandwidth:g} GB/s: {seconds:.3g} s")
    show_text(out, f"assumed: {ASSUMED}", "dim")


def _cpu() -> dict[str, Any]:
    from adamas._tools.machine import cpu_model
    from adamas.backends.numba import architecture, vector_bits
    from adamas.backends.numba.pool import available_cpus

    return {
        "cpu": cpu_model(),
        "architecture": architecture(),
        "cores": available_cpus(),
        "threads": _threads(),
        "vector bits": vector_bits(),
    }


def _threads() -> int:
    """The threads of a step: torch's, where it is installed."""
    try:
        from adamas.torch._openmp import default_pool
    except ImportError:
        from adamas.backends.numba import ThreadPool

        return ThreadPool().size()
    return default_pool().size()


def _libraries() -> dict[str, Any]:
    """What multiplies matrices for numpy and torch, and whether there is a GPU."""
    import numpy as np

    built: Any = np.show_config(mode="dicts")
    blas = built.get("Build Dependencies", {}).get("blas", {})
    found = {"BLAS of numpy": f"{blas.get('name', 'unknown')} {blas.get('version', '')}".strip()}
    try:
        from adamas.bench.machine import torch_libraries
    except ImportError:
        return {**found, "BLAS of torch": "not installed", "CUDA": "not used: torch is not installed"}
    return found | torch_libraries()


def _folders() -> dict[str, str]:
    """The folders as they are used, which are others than those asked for where these cannot be written."""
    import os

    from adamas._tools.files import cache_folder
    from adamas.backends.numba import cache_folder as kernels_folder

    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        kernels = str(kernels_folder())
    # The warning says which folder could not be written, and why.
    kept = "".join(f", which goes with this process: {each.message}" for each in said)
    data = os.environ.get("ADAMAS_DATA")
    try:
        cache = str(cache_folder())
    except RuntimeError as error:
        cache = f"none: {error}"
    return {
        "cache": cache,
        "kernels": kernels + kept,
        "data sets": str(Path(data).expanduser()) if data else f"downloaded into {cache}",
        "results": str(RESULTS.absolute()),
    }
