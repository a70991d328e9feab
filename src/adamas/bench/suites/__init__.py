"""Suites of measurements, a file each: `WORKLOADS`, its defaults, and `run(workloads, rounds, peers)`.

`run` measures beside torch, and with `peers` beside the other libraries that are installed.
"""

__all__: list[str] = []
