"""A trainer that is missing is no silent skip where all are asked for, as by `make test-integrations`."""

from __future__ import annotations

import sys

import pytest
import trainer_support


@pytest.fixture(autouse=True)
def _without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "skorch", None)


def test_it_fails_where_all_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer_support, "ALL", True)
    with pytest.raises(ImportError, match="skorch"):
        trainer_support.trainer("skorch")
    with pytest.raises(pytest.fail.Exception, match="no compiler"):
        trainer_support.missing("no compiler")


def test_it_skips_with_the_reason_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer_support, "ALL", False)
    with pytest.raises(pytest.skip.Exception, match="skorch"):
        trainer_support.trainer("skorch")
    with pytest.raises(pytest.skip.Exception, match="no compiler"):
        trainer_support.missing("no compiler")
