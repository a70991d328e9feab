"""The paper's figures, run again: problems, grids of resumable runs, stored records, figures.

Needs `pip install 'adamas[experiments]'`. One new file in `problems/` is a new problem, one new file in
`figures/` a new figure; their packages say what such a file must contain.
"""

__all__ = ["ExperimentError"]


class ExperimentError(Exception):
    """What stops an experiment, for its user to mend: the message says what was found and what to do."""
