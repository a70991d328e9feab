"""The arctangent of 0 to 1 as polynomials, for kernels that have no `atan2` which becomes vectors.

arctan(a) = a + a s P(s) with s = a², and P of least largest relative error on [0, 1] (Remez): 2.6e-9 with
nine coefficients for float32, 4.7e-18 with twenty for float64. The eight octants follow from one,

    arctan2(y, x) = c ± arctan(min(|x|, |y|) / max(|x|, |y|)),    c = 0, π/2 or π, with the sign of y.

With the roundings of the quotient, of the polynomial and of the sum, results are within 2 units in the last
place.
"""

__all__ = ["ARCTANGENT"]

# The coefficients of P, that of the highest power first, by the bits of a number.
ARCTANGENT: dict[int, tuple[float, ...]] = {
    32: (
        -0.0017936229705810547,
        0.010914611630141735,
        -0.031177856028079987,
        0.05795760452747345,
        -0.0840345099568367,
        0.10952185839414597,
        -0.14264242351055145,
        0.19998548924922943,
        -0.33333298563957214,
    ),
    64: (
        1.3225091287809238e-05,
        -0.00015216100429970165,
        0.000831322403556903,
        -0.0028849197864906843,
        0.007196505307910071,
        -0.013900562457711466,
        0.02198485523949551,
        -0.029903859558800972,
        0.036641911301978865,
        -0.042191789606584346,
        0.04722322213386068,
        -0.05253518550406873,
        0.058805278137893734,
        -0.06666404057407957,
        0.0769227983926991,
        -0.09090907002989175,
        0.11111111007025994,
        -0.14285714282575102,
        0.1999999999995146,
        -0.3333333333333307,
    ),
}
