"""The table of `docs/family.md` has every rule, its slots and the bytes that they take."""

import re
from pathlib import Path

import pytest

from adamas.rules._found import rule_classes

PAGE = (Path(__file__).parents[2] / "docs" / "family.md").read_text(encoding="utf-8")
ROWS = {m[1]: m for m in re.finditer(r"^\| (\w+) \| (\d{4}) \| ([\d-]+) \| ([\d-]+) \|", PAGE, re.MULTILINE)}


@pytest.mark.parametrize("name", rule_classes())
def test_every_rule_has_its_row(name: str) -> None:
    assert name in ROWS, f"docs/family.md has no row for {name}: year, slots, bytes, what it is for"
    slots, taken = (list(map(int, ROWS[name][k].split("-"))) for k in (3, 4))
    assert [4 * each for each in slots] == taken
    assert min(slots) <= len(rule_classes()[name]().form().slots) <= max(slots)


def test_no_row_is_of_a_rule_that_is_not_there() -> None:
    assert set(ROWS) <= set(rule_classes())
