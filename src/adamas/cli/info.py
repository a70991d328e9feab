"""`adamas info`: versions, the CPU and what kernels use of it; the memory of a model on many ranks."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from ._app import Json, app
from ._output import console, ending, progress_console, table

WIDTH = 80


@app.command()
def info(
    plan: Annotated[
        list[float] | None,
        typer.Option(help="Instead: plan to train so many parameters, as 70e9; may be given again."),
    ] = None,
    ranks: Annotated[
        list[int] | None,
        typer.Option(help="Of the plan: processes, one a device; may be given again.", show_default="1"),
    ] = None,
    replicas: Annotated[int, typer.Option(min=1, help="Of the plan: ranks with the same shard.")] = 1,
    optimizer: Annotated[str, typer.Option(help="Of the plan: a class of adamas.torch.")] = "AdamW",
    state: Annotated[
        str | None, typer.Option(help="Of the plan: state_format.", show_default="float32")
    ] = None,
    dtype: Annotated[str, typer.Option(help="Of the plan: parameters and gradients.")] = "bfloat16",
    average: Annotated[float | None, typer.Option(help="Of the plan: average.", show_default="none")] = None,
    clip: Annotated[bool, typer.Option(help="Of the plan: with clip_norm.")] = False,
    bandwidth: Annotated[
        float | None, typer.Option(help="Of the plan: of a rank's memory in GB/s.", show_default="unknown")
    ] = None,
    simulate: Annotated[
        bool, typer.Option(help="Of the plan: count what a simulated step exchanges, beside the formula.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show versions, the CPU and what kernels use of it, and the folder of kernels and preprocessed data.

    With --plan: what training a Llama of that size would take on each rank, with nothing allocated.

    Exit status: 0 shown; 2 bad input: an unknown optimizer, dtype, format or size.
    """
    if plan:
        from ._plan import Asked

        asked = Asked(optimizer, state, dtype, average, clip, replicas, bandwidth, simulate)
        _show_plans(plan, ranks or [replicas], asked, as_json)
        return
    from adamas._tools.files import cache_folder
    from adamas._tools.versions import versions

    facts = {**versions(), **_cpu(), "cache": str(cache_folder())}
    if as_json:
        print(json.dumps(facts, indent=1))
        return
    rows = [{"what": name, "value": str(value)} for name, value in facts.items()]
    console(WIDTH).print(table(None, rows))


def _show_plans(sizes: list[float], ranks: list[int], asked: Any, as_json: bool) -> None:
    from ._plan import ASSUMED, plain, plans, row

    with ending(progress_console(), ValueError):
        found = plans(sizes, ranks, asked)
        rows = [row(planned, sent, asked) for _, planned, sent in found]
    if as_json:
        print(json.dumps([plain(*each, asked) for each in found], indent=1))
        return
    out = console(WIDTH)
    if len(found) > 1:
        out.print(table("GB a rank", rows))
    else:
        ((size, planned, sent),) = found
        out.print(f"{size.name}\n{planned}", markup=False, highlight=False)
        if sent is not None:
            out.print(f"sent in a simulated step: {sent.total:,} bytes", markup=False, highlight=False)
            out.print(f"by the formula:           {planned.exchange.total:,} bytes", highlight=False)
        if asked.bandwidth is not None:
            seconds = planned.seconds(asked.bandwidth * 1e9)
            out.print(f"a step at {asked.bandwidth:g} GB/s: {seconds:.3g} s", highlight=False)
    out.print(f"assumed: {ASSUMED}", style="dim", markup=False, highlight=False)


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
