"""The rules that there are: those of the files of this folder."""

from .._tools.modules import load, names
from ._base import Rule

__all__ = ["rule_classes"]


def rule_classes() -> dict[str, type[Rule]]:
    """Each rule by its name, file by file."""
    found = {}
    for file in names(__package__):
        module = load(__package__, file)
        for name, member in vars(module).items():
            own = isinstance(member, type) and issubclass(member, Rule)
            if own and member.__module__ == module.__name__:
                found[name] = member
    return found
