"""The GPU backend: a step is one launch for all parameters, compiled by Triton."""
