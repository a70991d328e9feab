"""What torch's own arguments mean here: the documentation of the classes that take torch's constructors."""

from __future__ import annotations

import inspect
import textwrap

__all__ = ["TORCH_ARGUMENTS", "arguments_doc"]

TORCH_ARGUMENTS = {
    "params": "tensors, named tensors, or groups (dicts with `params` and options), as in torch.optim.",
    "lr": "the stepsize α, a float or a tensor of one element.",
    "betas": "decays β1, β2 of the first and of the second moment, each in [0, 1).",
    "eps": "ε, beside the root of the second moment, in the unit of a gradient (Adadelta: inside it, in "
    "the unit of its square).",
    "weight_decay": "λ, at least 0: λ p is added to the gradient, or, decoupled, p is scaled by 1 - lr λ.",
    "decoupled_weight_decay": "shrink p by 1 - lr λ instead of adding λ p to the gradient, as AdamW does.",
    "amsgrad": "divide by the root of the largest second moment so far (Reddi et al. 2018).",
    "momentum": "μ, at least 0; with 0 no buffer is stored.",
    "dampening": "τ: from the second step on the momentum takes 1 - τ of the gradient.",
    "nesterov": "Nesterov's momentum; needs a momentum and no dampening.",
    "lr_decay": "η: the stepsize of step t is lr / (1 + (t - 1) η).",
    "initial_accumulator_value": "the sum of squares at the first step, in the unit of a squared gradient.",
    "alpha": "decay of the mean of squared gradients, in [0, 1].",
    "centered": "divide by the root of the variance instead of the raw second moment.",
    "rho": "decay of both running means, in [0, 1].",
    "momentum_decay": "ψ, how fast the momentum approaches β1.",
    "maximize": "step along the gradient, not against it.",
    "differentiable": "let autograd see the step; it then runs whole-tensor arithmetic.",
    "foreach": "of torch; accepted, kept in groups and in checkpoints, and without effect on our kernels.",
    "fused": "of torch; accepted and kept as `foreach` is. A step here is one pass whatever it says.",
    "capturable": "of torch, for CUDA graphs; accepted and kept as `foreach` is.",
}


def arguments_doc(signature: inspect.Signature, own: str) -> str:
    """The section "Args" of a constructor of torch's; "" where the class's own text has one."""
    names = [name for name in signature.parameters if name in TORCH_ARGUMENTS]
    if "Args:" in own or "params" not in names:
        return ""
    lines = []
    for name in names:
        default = signature.parameters[name].default
        given = "" if default is inspect.Parameter.empty else f" {default!r} by default."
        text = f"{name}: {TORCH_ARGUMENTS[name]}{given}"
        lines.append(textwrap.fill(text, 106, initial_indent=" " * 4, subsequent_indent=" " * 8))
    errors = (
        "    ValueError: an option is out of its range; it is named with the value it got.\n"
        "    TypeError: `params` holds what is no tensor, as in torch.optim.\n"
    )
    return "\nArgs:\n" + "\n".join(lines) + "\n\nRaises:\n" + errors
