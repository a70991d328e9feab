"""What the kernels of rules with sums are compiled to for GPUs that need not be there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from gpu_support import OF_GPUS

TESTS = Path(__file__).parents[1]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not OF_GPUS, reason="there is no Triton for this system"),
]

# Triton compiles in a process without its interpreter.
PROGRAM = """
import dataclasses, json, sys
from rule_cases import CASES
from adamas.backends.triton import THREADS, add_chunks, compile_rule, compile_sums, sums
from adamas.backends.triton.code import TARGETS, code_of
from adamas.backends.triton.launch import compiled

architecture = sys.argv[1]
compiled(add_chunks, sums.TOTAL_SIGNATURE, TARGETS[architecture], THREADS)
for name, p, state in (("LAMB", "float32", "float8"), ("NovoGrad", "bfloat16", "float32")):
    rule = CASES[name]
    kernel = compile_rule(rule, p, slots=dict.fromkeys(rule.form().slots, state))
    for each in (kernel, compile_sums(rule, kernel)):
        print(json.dumps(dataclasses.asdict(code_of(each, architecture))))
"""


@pytest.mark.parametrize("architecture", ["sm_80", "sm_90", "gfx942"])
def test_the_code_of_both_passes(architecture: str) -> None:
    """Accesses of 16 bytes, no memory of a thread's own, float64 for the sums and for nothing else."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path])}
    environment.pop("TRITON_INTERPRET", None)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, architecture], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    codes = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(codes) == 4
    for k, code in enumerate(codes):
        assert code["vector_loads"] >= 2
        assert code["widest"] == 16
        assert code["local"] == 0
        assert (code["wide_arithmetic"] > 0) == (k % 2 == 1)
