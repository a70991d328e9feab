"""What can be measured, a file each: `WORKLOADS`, the default ones, and `run(workloads, rounds, peers)`.

`run` measures beside torch, and with `peers` beside the other libraries that are installed.
"""

__all__: list[str] = []
