"""`python -m adamas`, and the `adamas` command: the command line if its packages are installed."""

from __future__ import annotations

import sys

from adamas._tools.text import never_fail

# The packages that commands import beyond the core; the extra `experiments` brings all of them.
OPTIONAL = {"jinja2", "matplotlib", "pandas", "plotly", "pooch", "rich", "scipy", "sklearn", "torch", "typer"}


def main() -> None:
    """Run the command line; name the extra to install where a package is missing."""
    never_fail(sys.stdout, sys.stderr)
    try:
        from adamas.cli import app

        app()
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in OPTIONAL:
            raise
        sys.exit(
            f"adamas: the package {package!r} is not installed: "
            "pip install -e '.[experiments]' in a clone of adamas"
        )


if __name__ == "__main__":
    main()
