"""What all tests share: reproducible hypothesis runs, and a reason where the real data is missing."""

import os

# Read when Triton is first imported: its interpreter then runs kernels for GPUs on the CPU.
os.environ.setdefault("TRITON_INTERPRET", "1")

import hypothesis
import pytest

# Triton runs its kernels in an interpreter, on the CPU; it reads this where it is first imported.
os.environ.setdefault("TRITON_INTERPRET", "1")

# Derandomized, so that a failure is the change's and not the day's; no deadline, because a first
# call may compile a kernel.
hypothesis.settings.register_profile("adamas", deadline=None, derandomize=True)
hypothesis.settings.load_profile("adamas")


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("huge") and "huge" not in item.config.getoption("markexpr"):
        pytest.skip("needs 15 GiB of memory: ask for it with -m huge")
    if item.get_closest_marker("realdata") and not os.environ.get("ADAMAS_DATA"):
        pytest.skip("ADAMAS_DATA does not name a folder with the real data sets")
