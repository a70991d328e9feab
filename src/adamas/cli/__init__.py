"""The command line: `adamas`, or `python -m adamas`. Each public module here is a command.

Commands import their dependencies when they run, so that `--help` is quick.
"""

from __future__ import annotations

from adamas._tools import modules

from ._app import app

__all__ = ["app"]

for _name in modules.names(__name__):
    modules.load(__name__, _name)
