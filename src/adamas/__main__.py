"""`python -m adamas`, and the `adamas` command: the command line if its packages are installed."""

from __future__ import annotations

import sys

# What the commands import beyond the core, by the extra that brings it.
EXTRAS = {
    "cli": {"rich", "typer"},
    "experiments": {"matplotlib", "pooch", "requests", "scipy", "sklearn", "torch"},
}


def main() -> None:
    """Runs the command line; names the extra to install where a package is missing."""
    try:
        from adamas.cli import app

        app()
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if not any(package in packages for packages in EXTRAS.values()):
            raise
        sys.exit(f"adamas: this needs the package {package!r}: pip install 'adamas[experiments]'")


if __name__ == "__main__":
    main()
