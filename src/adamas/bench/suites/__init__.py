"""Suites of measurements, a file each: `WORKLOADS`, its defaults, and `run(workloads, rounds, peers)`.

`run` measures beside torch, and with `peers` beside other libraries. A suite may also have a demonstration:
`demo(size, processes)`, and its `SIZES`, the largest last.
"""

__all__: list[str] = []
