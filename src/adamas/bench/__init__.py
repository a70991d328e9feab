"""Step time beside the peers, in one run, as ratios and as a share of the memory bandwidth."""

from .report import bench_rules, bench_step

__all__ = ["bench_rules", "bench_step"]
