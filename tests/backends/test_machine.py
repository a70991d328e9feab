"""Vectors of kernels: as wide as the CPU's, on x86 and beyond; what is kept for one CPU is for no other."""

import importlib.util
import math
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import llvmlite.binding as llvm
import numpy as np
import pytest
from numba.core.codegen import CPUCodeLibrary
from numba.core.registry import cpu_target
from rule_cases import FORMS

from adamas.backends import exact
from adamas.backends.numba import (
    Job,
    NormJob,
    ThreadPool,
    architecture,
    compile_rule,
    job,
    kernel,
    machine,
    toolbox,
    vector_bits,
)
from adamas.backends.numba.kernel import compile_norm
from adamas.rules import SGD, Adam, Rule

SERVER = "+avx,+avx2,+avx512bw,+avx512dq,+avx512f,+avx512vl,+fma"
wide_only = pytest.mark.skipif(vector_bits() < 512, reason="this CPU has no vectors of 512 bits")


@pytest.mark.parametrize(
    ("features", "expected"),
    [
        (SERVER, 512),
        ("+avx,+avx2,-avx512f,-avx512vl,-avx512bw,-avx512dq", 256),
        ("+avx,+avx2,+avx512f,-avx512bw,-avx512dq,-avx512vl", 256),
        ("+sse2,-avx2", 128),
        ("+neon,+fp-armv8", 128),
        ("", 128),
    ],
)
def test_the_vectors_of_a_cpu(features: str, expected: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_features", lambda: features)
    assert vector_bits() == expected
    assert architecture()


def test_another_cpu_has_another_stamp(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside Numba's own key, which has the CPU's name and features."""
    stamps = set()
    for features in (SERVER, "+avx2", "+neon"):
        monkeypatch.setattr(machine, "_features", lambda features=features: features)
        stamps.add(kernel._stamp.__wrapped__())
    assert len(stamps) == 3


def test_numbas_own_key_has_the_features() -> None:
    """What is decided from them is then never loaded on a CPU with others."""
    assert machine._features() in cpu_target.target_context.codegen().magic_tuple()


def fresh(source: Path, folder: Path) -> ModuleType:
    """A generated file, compiled anew: a kernel from the cache has neither LLVM's text nor assembly."""
    path = folder / "fresh_vectors_kernel.py"
    path.write_bytes(source.read_bytes())
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[path.stem] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    finally:
        del sys.modules[path.stem]
    return module


STATES = {
    "float32": ("float32", "float32"),
    "all bfloat16": ("bfloat16", "bfloat16"),
    "float8": ("float32", "float8"),
}


@wide_only
@pytest.mark.parametrize("state", STATES)
def test_wide_vectors_are_used(state: str, tmp_path: Path) -> None:
    p, slots = STATES[state]
    kernel = compile_rule(Adam(), p, slots={"m": slots, "v": slots})
    module = fresh(kernel.path, tmp_path)
    assert '"prefer-vector-width"="512"' in module.step.inspect_llvm()
    assembly = module.step._library.get_asm_str()
    arithmetic = [line for line in assembly.splitlines() if re.search(r"vf?n?m(add|sub)\d+ps", line)]
    assert sum("zmm" in line for line in arithmetic) > sum("ymm" in line for line in arithmetic)


@wide_only
@pytest.mark.parametrize("g", ["float32", "float64", "bfloat16"])
def test_the_norm_uses_wide_vectors(g: str, tmp_path: Path) -> None:
    assembly = fresh(compile_norm(g).path, tmp_path).step._library.get_asm_str()
    for instruction in ("vpaddq", "vpmaxuq", "vpminuq", "vmulpd" if g == "float64" else "vfmadd"):
        lines = [line for line in assembly.splitlines() if re.search(instruction, line)]
        assert sum("zmm" in line for line in lines) >= 8


def test_without_fused_instructions_the_norm_is_the_same(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    values = np.random.default_rng(0).standard_normal(20_000).astype(np.float32)
    compiled = compile_norm("float32")
    monkeypatch.setattr(toolbox, "fuses", lambda: False)
    step = fresh(compiled.path, tmp_path).step
    assert "fma" not in step.inspect_llvm()
    monkeypatch.setattr(job, "compile_norm", lambda g: replace(compiled, address=step.address, owner=step))
    whole = Job(compile_rule(SGD(), "float32"), [values.size])
    whole.write_table([values.ctypes.data] * 2)
    norm = NormJob(whole)
    norm.run(ThreadPool(1))
    assert exact.root(norm.words) == math.sqrt(math.fsum((values.astype(np.float64) ** 2).tolist()))


def unoptimized(make: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> str:
    """LLVM's text of the last kernel that `make` compiles, before anything is decided for this CPU."""
    texts: list[str] = []

    def keep(library: CPUCodeLibrary) -> None:
        texts.append(str(library._final_module))

    monkeypatch.setattr(CPUCodeLibrary, "_optimize_functions", lambda library, module: None)
    monkeypatch.setattr(CPUCodeLibrary, "_optimize_final_module", keep)
    make()
    return texts[-1]


def compiled_for_arm(text: str) -> str:
    """The assembly of an ARM server's CPU, of LLVM's text for any."""
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    triple = "aarch64-unknown-linux-gnu"
    machine = llvm.Target.from_triple(triple).create_target_machine(cpu="neoverse-n1", opt=3)
    text = re.sub(r'target triple = ".*"', f'target triple = "{triple}"', text)
    text = re.sub(r'target datalayout = ".*"', f'target datalayout = "{machine.target_data}"', text)
    module = llvm.parse_assembly(text)
    options = llvm.create_pipeline_tuning_options(speed_level=3)
    options.loop_vectorization = options.slp_vectorization = True
    builder = llvm.create_pass_builder(machine, options)
    builder.getModulePassManager().run(module, builder)
    return str(machine.emit_assembly(module))


@pytest.mark.filterwarnings("ignore:Cannot cache")  # what is not optimized
@pytest.mark.parametrize("rule", [Adam(), SGD(momentum=0.9)], ids=lambda rule: type(rule).__name__)
@pytest.mark.parametrize("state", STATES)
def test_on_arm_the_same_text_becomes_vectors_that_divide_exactly(
    state: str, rule: Rule, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(machine, "_features", lambda: "+neon")
    p, slots = STATES[state]
    source = compile_rule(rule, p, slots=dict.fromkeys(rule.form().slots, slots)).path
    assembly = compiled_for_arm(unoptimized(lambda: fresh(source, tmp_path), monkeypatch))
    assert re.search(r"fmla\s+v\d+\.4s", assembly), "not in vectors"
    assert not re.search(r"\bfr(ecp|sqrt)[esx]\b", assembly), "estimates that differ from CPU to CPU"
    if isinstance(rule, Adam):
        assert re.search(r"fdiv\s+v\d+\.4s", assembly)
        assert re.search(r"fsqrt\s+v\d+\.4s", assembly)
    assert not re.search(r"\bbl\s+\w*(div|sqrt)f?\b", assembly)


@pytest.mark.parametrize("name", sorted(FORMS))
def test_quotients_of_float8_state_are_exact(name: str, tmp_path: Path) -> None:
    """Estimates, which differ from CPU to CPU and from vectors to scalars, were no faster."""
    slots = dict.fromkeys(FORMS[name].form().slots, "float8")
    source = compile_rule(FORMS[name], "float32", slots=slots).path
    assembly = fresh(source, tmp_path).step._library.get_asm_str()
    assert not re.search(r"\bv?(rcp|rsqrt)(14)?[sp]s\b", assembly)
