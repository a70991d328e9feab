"""One new file is enough for an optimizer or a launcher: it is added to a scratch copy, and used."""

import json

import pytest
from scratch_support import Scratch

pytest.importorskip("torch", reason="the newcomers are used with torch")
pytest.importorskip("optax", reason="and with JAX")


def test_an_optimizer(scratch: Scratch) -> None:
    scratch.add(
        "rules/newcomer.py",
        '''
        """Momentum whose step is its sign, softened by a running mean of magnitudes."""

        from dataclasses import dataclass

        from ._base import NONNEGATIVE, SIGNED, Decay, NonNegative, Rule, xp


        @dataclass(frozen=True)
        class Newcomer(Rule):
            """The rule of this test."""

            lr: NonNegative = 0.05
            beta: Decay = 0.5

            slots = {"m": SIGNED, "u": NONNEGATIVE}

            def scalars(self, t):
                return self.lr, self.beta, 1 - self.beta

            @staticmethod
            def update(p, g, m, u, lr, beta, one_minus_beta):
                m = beta * m + one_minus_beta * g
                u = beta * u + one_minus_beta * xp.abs(g)
                return p - lr * m / (u + 1e-6), m, u
        ''',
    )
    output = scratch.python(
        """
        import json
        import torch
        from adamas.backends import reference
        from adamas.bench.suites.rules import compared
        from adamas.experiments import problems
        from adamas.experiments.runs.training import Training
        from adamas.rules.newcomer import Newcomer
        from adamas.torch import Optimizer

        found, start = {}, torch.linspace(-1, 1, 50)
        for backend in ("numba", "reference"):
            p = torch.nn.Parameter(start.clone())
            opt = Optimizer([p], Newcomer(lr=0.1), backend=backend)
            for _ in range(5):
                p.grad = 3 * p.detach()
                opt.step()
            found[backend] = p.tolist()
        *_, last = reference.trajectory(Newcomer(lr=0.1), start.double().numpy(), lambda t, p: 3 * p, 5)
        found["expected"] = last.p.tolist()
        fields = problems.fields("images_softmax", {"data": "digits"})
        outcome = Training("images_softmax", *fields, Newcomer(lr=0.01), "constant", 0.0, 128, 2, 0).execute()
        found["cost"] = [outcome.epochs[place]["train_nll"] for place in (0, -1)]
        found["timed"] = [name for name, _ in compared()]
        import adamas.optax
        found["in_jax"] = adamas.optax.newcomer.__name__
        import adamas.rules
        import adamas.torch
        made = adamas.torch.create("newcomer", [torch.nn.Parameter(start.clone())], lr=0.1, weight_decay=0.1)
        found["in_torch"] = [type(made) is adamas.torch.Newcomer, "newcomer" in adamas.rules.names()]
        from adamas import minimize
        bowl, own = lambda x: ((x - 1) ** 2).sum(), Newcomer(lr=0.02)
        least = minimize(bowl, start.double().numpy(), rule=own, jac=lambda x: 2 * (x - 1))
        found["minimized"] = float(abs(least.x - 1).max())
        print(json.dumps(found))
        """
    )
    found = json.loads(output)
    for backend in ("numba", "reference"):
        assert found[backend] == pytest.approx(found["expected"], rel=1e-4, abs=1e-6)
    first, last = found["cost"]
    assert last < first / 2
    assert "Newcomer" in found["timed"]
    assert found["in_jax"] == "newcomer"
    assert found["in_torch"] == [True, True]
    assert found["minimized"] < 0.1
    assert "Adam" in found["timed"]


def test_a_library_whose_state_is_converted(scratch: Scratch) -> None:
    scratch.add(
        "_convert/fractions.py",
        '''
        """States in fractions, with a library of Python itself."""

        from ._state import ParamState

        from fractions import Fraction


        def owns(value):
            """Whether it is a fraction."""
            return isinstance(value, Fraction)


        def read(value):
            """One parameter that has taken as many steps."""
            return {"p": ParamState(int(value), {}, {}, None)}


        def write(states, like):
            """The steps of the first."""
            return Fraction(next(iter(states.values())).t)
        ''',
    )
    output = scratch.python(
        """
        from fractions import Fraction
        import adamas
        print(adamas.convert(adamas.convert(Fraction(3)), like=Fraction(0)))
        """
    )
    assert output == "3\n"


def test_a_launcher(scratch: Scratch) -> None:
    scratch.add(
        "torch/launchers/newcomer.py",
        '''
        """Whole-tensor arithmetic for float64 alone, before all others."""

        import torch

        from .eager import LAUNCHER as EagerLauncher


        class Newcomer(EagerLauncher):
            """The eager step, which counts."""

            name = "newcomer"
            rank = -1
            launched = 0

            @classmethod
            def unsupported(cls, member, request):
                if member.local.dtype != torch.float64:
                    return "not float64"
                return super().unsupported(member, request)

            def launch(self, grad_scale):
                Newcomer.launched += 1
                super().launch(grad_scale)


        LAUNCHER = Newcomer
        ''',
    )
    output = scratch.python(
        """
        import json
        import torch
        from adamas.torch import Adam, Optimizer
        from adamas.torch.launchers.newcomer import Newcomer

        def step(backend, *dtypes):
            params = [torch.nn.Parameter(torch.ones(3, dtype=dtype)) for dtype in dtypes]
            opt = Adam(params, lr=0.25, backend=backend)
            for p in params:
                p.grad = torch.full_like(p, 2.0)
            try:
                opt.step()
            except ValueError as error:
                return str(error)
            assert all(torch.allclose(p, torch.full_like(p, 0.75)) for p in params)
            return opt.backend

        found = {
            "asked": step("newcomer", torch.float64),
            "launched": Newcomer.launched,
            "refused": step("newcomer", torch.float32),
            "chosen": step("auto", torch.float64),
            "both": step("auto", torch.float64, torch.float32),
            "documented": "newcomer" in Adam.__doc__ and "newcomer" in Optimizer.__doc__,
        }
        try:
            step("newcome", torch.float64)
        except ValueError as error:
            found["unknown"] = str(error)
        print(json.dumps(found))
        """
    )
    found = json.loads(output)
    assert (found["asked"], found["launched"], found["chosen"]) == ("newcomer", 1, "newcomer")
    assert "not float64" in found["refused"]
    assert set(found["both"].split(" and ")) == {"newcomer", "numba"}
    assert found["documented"]
    assert "'auto', 'newcomer', 'numba'" in found["unknown"]
