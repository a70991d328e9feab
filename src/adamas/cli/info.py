"""`adamas info`: installed versions and the cache folder."""

from __future__ import annotations

import json
import os

from ._app import Json, app
from ._output import console, table


@app.command()
def info(as_json: Json = False) -> None:
    """Show versions, the number of CPUs, and the folder of downloads and preprocessed data."""
    from adamas._tools.files import cache_folder
    from adamas._tools.versions import versions

    facts = {**versions(), "cpus": os.cpu_count(), "cache": str(cache_folder())}
    if as_json:
        print(json.dumps(facts, indent=1))
    else:
        console().print(table(None, [{"what": name, "value": str(value)} for name, value in facts.items()]))
