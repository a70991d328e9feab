"""Files with rules, whole and broken, for `adamas try`."""

HEAD = """
import numpy as np
from dataclasses import dataclass
from adamas.rules import NONNEGATIVE, SIGNED, Rule, xp

"""
RIGHT = f"""{HEAD}
@dataclass(frozen=True)
class Mine(Rule):
    lr: float = 1e-3
    beta: float = 0.9
    slots = {{"m": SIGNED}}

    def scalars(self, t):
        return self.lr, self.beta, 1 - self.beta

    @staticmethod
    def update(p, g, m, lr, beta, rest):
        m = beta * m + rest * g
        return p - lr * xp.sign(m), m
"""
M = "m = beta * m + rest * g"
SCALARS = "return self.lr, self.beta, 1 - self.beta"
RETURN = "return p - lr * xp.sign(m), m"


def changed(old: str, new: str) -> str:
    """The right file with one thing changed."""
    assert old in RIGHT
    return RIGHT.replace(old, new)


# Each with what its message has to say.
BROKEN = {
    "a syntax error": (changed("return p -", "return p - -* "), "line 19: SyntaxError: invalid syntax"),
    "no rule": ("import numpy\n", "has no rule: write a class of adamas.rules.Rule"),
    "an empty file": ("", "has no rule"),
    "no Python": ("\0", "null bytes"),
    "an import that is missing": (
        "import none_such_here\n",
        "line 1: ModuleNotFoundError: No module named 'none",
    ),
    "a script that exits": (RIGHT + "\nraise SystemExit(3)\n", "the file fails as it is run"),
    "no dataclass": (changed("@dataclass(frozen=True)", ""), "@dataclass(frozen=True)"),
    "a field without default": (
        changed("lr: float = 1e-3", "lr: float"),
        "give every hyperparameter a default",
    ),
    "another order": (
        changed("update(p, g, m,", "update(g, p, m,"),
        "takes (p, g, m, ...) by the names and order",
    ),
    "self": (changed("update(p, g, m,", "update(self, p, g, m,"), "takes no self"),
    "too few scalars": (
        changed(SCALARS, "return self.lr, self.beta"),
        "scalars(t) returns 2 and update takes 3",
    ),
    "one result": (changed(RETURN, "return p - lr * m"), "Mine"),
    "a step that raises": (changed(M, "raise KeyError('here')"), "line 18: KeyError: 'here'"),
    "scalars that raise": (changed(SCALARS, "return self.lr / 0, self.beta, 1"), "ZeroDivisionError"),
    "NaN": (
        changed(RETURN, "return p - lr * m / xp.sqrt(m * m), m"),
        "p becomes nan at step 1 where the gradient is zero",
    ),
    "a gradient that is ignored": (changed("rest * g", "rest * p"), "does not use its gradient"),
    "an if on t": (
        changed(SCALARS, "return (self.lr if t > 1 else 0.0), self.beta, 1 - self.beta"),
        "has an `if` on t",
    ),
    "a negative slot": (changed("SIGNED}", "NONNEGATIVE}"), "declare it SIGNED"),
    "a mean over elements": (changed(M, "m = beta * m + rest * np.mean(g)"), "not elementwise"),
    "no slot": (changed("slots = {", "slots = {'v': 3, "), "slot 'v' is SIGNED or NONNEGATIVE"),
}
