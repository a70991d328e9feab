"""What kernels are compiled to for GPUs that need not be there: every rule, and every format of each rule."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from code_support import STORED
from gpu_support import OF_GPUS
from rule_cases import FORMS

TESTS = Path(__file__).parents[1]
STATES = ["float32", *STORED]
PARAMS = ["float32", "bfloat16", "float16"]
# Of two vendors, and three generations of one.
ARCHITECTURES = ["sm_80", "sm_90", "sm_100", "gfx942"]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not OF_GPUS, reason="there is no Triton for this system"),
]

# Triton compiles in a process without its interpreter. All kernels of an architecture share one: starting
# takes longer than compiling.
PROGRAM = """
import dataclasses, json, sys
from rule_cases import FORMS
from adamas.backends.triton import compile_rule
from adamas.backends.triton.code import code_of

architecture, cases = json.loads(sys.argv[1])
for name, p, state in cases:
    rule = FORMS[name]
    kernel = compile_rule(rule, p, slots=dict.fromkeys(rule.form().slots, state), average=name == "Adam")
    print(json.dumps(dataclasses.asdict(code_of(kernel, architecture))))
"""


def params_of(name: str, state: str) -> str:
    """The format of the parameters, which takes turns."""
    return PARAMS[(list(FORMS).index(name) + STATES.index(state)) % len(PARAMS)]


@functools.cache
def codes(architecture: str, cases: tuple[tuple[str, str, str], ...]) -> list[dict[str, Any]]:
    """The code of each case, compiled in another process."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path])}
    environment.pop("TRITON_INTERPRET", None)
    command = [sys.executable, "-c", PROGRAM, json.dumps([architecture, cases])]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


def cases_of(architecture: str) -> tuple[tuple[str, str, str], ...]:
    """Every rule in a few formats: architectures take them in turn, since each takes a second to compile."""
    turn = ARCHITECTURES.index(architecture)
    return tuple(
        (name, params_of(name, state), state)
        for k, name in enumerate(FORMS)
        for n, state in enumerate(STATES)
        if (k + n) % len(ARCHITECTURES) == turn
    )


@pytest.mark.parametrize(
    ("architecture", "case"),
    [(each, case) for each in ARCHITECTURES for case in cases_of(each)],
    ids=lambda x: x if isinstance(x, str) else "-".join(x),
)
def test_the_code_of_every_rule_in_every_format(architecture: str, case: tuple[str, str, str]) -> None:
    """Accesses of 16 bytes, no memory of a thread's own, and no float64 among numbers of 32 bits and less."""
    cases = cases_of(architecture)
    code = codes(architecture, cases)[cases.index(case)]
    assert code["vector_loads"] >= 2
    assert code["vector_stores"] >= 1
    assert code["widest"] == 16
    assert code["local"] == 0
    assert code["wide_arithmetic"] == 0


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_code_in_float64_computes_in_it(architecture: str) -> None:
    """What the counts above are worth."""
    (code,) = codes(architecture, (("Adam", "float64", "float64"),))
    assert code["wide_arithmetic"] > 0
    assert code["local"] == 0
