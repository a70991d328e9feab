"""`adamas info`: installed versions, the CPU and what kernels use of it, and the cache folder."""

from __future__ import annotations

import json
from typing import Any

from ._app import Json, app
from ._output import console, table


@app.command()
def info(as_json: Json = False) -> None:
    """Show versions, the CPU and what kernels use of it, and the folder of kernels and preprocessed data."""
    from adamas._tools.files import cache_folder
    from adamas._tools.versions import versions

    facts = {**versions(), **_cpu(), "cache": str(cache_folder())}
    if as_json:
        print(json.dumps(facts, indent=1))
        return
    rows = [{"what": name, "value": str(value)} for name, value in facts.items()]
    console(80).print(table(None, rows))


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
