"""Reports: figures with their records, drawn as pictures and as a page."""

__all__: list[str] = []
