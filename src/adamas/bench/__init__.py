"""Speed and memory beside the peers, in one run, as ratios and as a share of the memory bandwidth.

What can be measured is found in `suites`, a file each.
"""

__all__: list[str] = []
