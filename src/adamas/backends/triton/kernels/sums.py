"""The sums of tensors, of those of their chunks."""

from ..toolbox import int_at, tl, triton

__all__ = ["add_chunks"]

# The chunks that are added at once: one a thread.
AT_ONCE = tl.constexpr(128)


@triton.jit
def add_chunks(partial, firsts, sums, terms):
    """Add up one term of one tensor over its chunks, always in the same order.

    Program k takes term k % terms of tensor k // terms, whose chunks are those from firsts[k // terms] to
    before the next tensor's, and writes sums[k].
    """
    program = tl.program_id(0)
    tensor, term = program // terms, program % terms
    chunk, end = int_at(firsts, tensor), int_at(firsts, tensor + 1)
    lane, total = tl.arange(0, AT_ONCE), tl.zeros([AT_ONCE], tl.float64)
    while chunk < end:
        total += tl.load(partial + (chunk + lane) * terms + term, chunk + lane < end, 0.0)
        chunk += AT_ONCE
    tl.store(sums + program, tl.sum(total, 0))
