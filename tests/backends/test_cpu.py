"""What is said of the vectors of a CPU, for CPUs that are not here."""

import pytest

from adamas.backends.numba import cpu, machine


@pytest.mark.parametrize(
    ("features", "bits", "instructions"),
    [
        (
            "+avx2,+avx512f,+avx512bw,+avx512dq,+avx512vl",
            512,
            "exact square root; division by vrcp14ps and a Newton step",
        ),
        ("+avx2,-avx512f", 256, "exact square root and division"),
        ("+neon,+fp-armv8", 128, "exact square root and division"),
    ],
)
def test_the_words_are_those_of_the_features(
    features: str, bits: int, instructions: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "_features", lambda: features)
    assert cpu.vector_bits() == bits
    assert cpu.low_bit_instructions() == instructions
    assert cpu.architecture()
