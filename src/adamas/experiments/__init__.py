"""The paper's figures and claims, run again.

Needs the extra `experiments`. A room imports those before it only:

- `findings`, `charts`, `solvers`: values and methods that know nothing of the rest;
- `datasets`, `problems`, `online_problems`: one data set or problem a file;
- `trial`: a rule of one's own, checked and compared, from its file;
- `runs`, `records`, `execution`: runs as values, their stored records, and the engines that execute them;
- `figures`, `claims`: one figure or claim a file, judged and drawn from records;
- `after`: claims that were made after the paper, one a file, each with a formula and its measurement;
- `reports`, `reproduce`: pictures and page, and the one entry from names to results.
"""

__all__ = ["ExperimentError"]


class ExperimentError(Exception):
    """An error for the user to mend: the message says what was found and what to do."""
