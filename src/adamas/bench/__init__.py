"""Step time beside the peers, in one run, as ratios and as a share of the memory bandwidth."""

from .report import STEP_WORKLOADS, Bench, bench_rules, bench_step

__all__ = ["STEP_WORKLOADS", "Bench", "bench_rules", "bench_step"]
