"""The keyword arguments that all optimizers take beyond torch's: in their signatures and documentation."""

from __future__ import annotations

import inspect

from .options import StepOptions

__all__ = ["OPTIONS_DOC", "STEP_OPTIONS", "with_step_options"]

# The keyword arguments of all optimizers beyond torch's.
STEP_OPTIONS = {
    name: parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
    for name, parameter in inspect.signature(StepOptions).parameters.items()
}


def with_step_options(signature: inspect.Signature, without: str = "") -> inspect.Signature:
    """A constructor's signature with the keyword arguments of all optimizers, less `**` and the one named."""
    own = [
        parameter
        for name, parameter in signature.parameters.items()
        if parameter.kind is not inspect.Parameter.VAR_KEYWORD and name != without
    ]
    return signature.replace(parameters=[*own, *STEP_OPTIONS.values()])


OPTIONS_DOC = """
All optimizers of this package take these keyword arguments too:

Args:
    backend: "auto", the fastest backend that can update a parameter, or one by name: {backends}.
    state_format: how slots are stored: "float32", "bfloat16", "float16", "float8" or "float4" (also "bf16",
        "fp8", `torch.bfloat16`, ...) for all, or a mapping from the key of a slot, as torch has it, to its
        format; float32 by default. Float64 and complex parameters keep state of their own type, and in float8
        and float4 tensors of fewer than 4,096 elements stay float32. Float16 is refused for slots of squares,
        and float4 for rules that do not divide by the root of one. A slot "exp_avg" in float8 is
        `state[p]["exp_avg_float8"]`, its codes, and `"exp_avg_float8_scale"`, their scales.
    clip_norm: the maximum global 2-norm of the gradients, as in `torch.nn.utils.clip_grad_norm_`, without
        writing to `p.grad`. `last_step.grad_norm` is the norm before clipping; `math.inf` computes it and
        clips nothing.
    skip_nonfinite: a step with a NaN or infinite gradient changes nothing, and is counted in
        `skipped_steps`.
    average: the decay β of a running average of the parameters after each step (Kingma & Ba 2014,
        section 7.2), with its bias correction; see `averaged_parameters`.
    seed: the seed of the stochastic rounding in 16, 8 and 4 bits.
    warn_after_skips: warn after this many consecutive skipped steps, with the name of the first parameter
        whose gradient is not finite; None never warns.
    process_group: of an optimizer that has a part of a model's parameters, the others being other processes'
        (ZeroRedundancyOptimizer, pipeline stages): the group over which the norm of all gradients is summed.
        DTensors need none: they know their mesh.
    key_by: what tells the random bits of one parameter from those of another: "number", its place in the
        optimizer; "name", its name as `named_parameters()` gave it; or `dict(model.named_parameters())`.
        By name, processes that number their parameters differently draw the same bits.
"""
