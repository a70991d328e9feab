"""When a pair is measured again; nothing is timed: the clock and the turns are fakes."""

from collections.abc import Sequence
from typing import Any

import pytest

pytest.importorskip("torch", reason="the benchmarks time torch optimizers")

from adamas.bench import measure
from adamas.bench.measure import Ratio, ratio, settle
from adamas.bench.pairs import Contender, Pair, UnavailableError, compare
from adamas.bench.progress import heard_by

CALM, NOISY, NOISIER = [1.0, 1.02, 0.98, 1.0], [1.0, 1.2, 0.8, 1.0], [1.0, 1.4, 0.6, 1.0]


class Repeats:
    """Stands for the measurement: each time what a script says, which takes so many seconds."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, script: Sequence[list[float]], takes: float) -> None:
        self.script, self.now, self.takes, self.turns = list(script), 0.0, takes, []
        monkeypatch.setattr(measure, "interleave", self)
        monkeypatch.setattr(measure, "_clock", lambda: self.now)
        monkeypatch.setattr(measure, "_TRIAD", 10)

    def __call__(self, contenders: Any, rounds: int, turn_seconds: float = 1.0) -> dict[str, list[float]]:
        if "triad" in contenders:
            return {"triad": [1.0]}
        self.turns.append(turn_seconds)
        self.now += self.takes
        theirs = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        return {"ours": [1.0] * len(theirs), "theirs": theirs}


def settled(repeats: Repeats) -> measure.Settled:
    return settle({}, 4, lambda seconds: ratio(seconds["theirs"], seconds["ours"]))


@pytest.mark.parametrize(
    ("low", "high", "expected"), [(0.96, 1.04, True), (0.94, 1.0, False), (1.0, 1.06, False)]
)
def test_both_quartiles_are_within_five_percent_of_the_median(
    low: float, high: float, expected: bool
) -> None:
    assert Ratio(1.0, low, high).settled is expected
    assert Ratio(20.0, 20 * low, 20 * high).settled is expected


def test_a_calm_pair_is_measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    repeats = Repeats(monkeypatch, [CALM], takes=1.0)
    assert settled(repeats).repeats == 1
    assert len(repeats.turns) == 1


def test_a_noisy_pair_is_measured_again_in_longer_turns_until_it_is_calm(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    repeats = Repeats(monkeypatch, [NOISY, NOISIER, CALM], takes=1.0)
    found = settled(repeats)
    assert (found.seconds["theirs"], found.repeats, found.ratio.settled) == (CALM, 3, True)
    assert repeats.turns == [repeats.turns[0], 2 * repeats.turns[0], 4 * repeats.turns[0]]


def test_of_repeats_that_never_settle_the_tightest_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    repeats = Repeats(monkeypatch, [NOISIER, NOISY, NOISIER], takes=1.0)
    found = settled(repeats)
    assert (found.seconds["theirs"], found.ratio.settled) == (NOISY, False)
    assert found.repeats == len(repeats.turns) == measure._REPEATS


def test_no_repeat_begins_that_would_end_after_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    takes = measure._SECONDS / 4
    repeats = Repeats(monkeypatch, [NOISY], takes=takes)
    # 15 s and 30 s are followed by one that may take twice as long as the last; 45 s are not
    assert settled(repeats).repeats == len(repeats.turns) == 3


def nothing(shapes: Any) -> Any:
    return lambda: None


PAIR = Pair("rl-mlp", Contender("mine", nothing), Contender("theirs", nothing))


def test_a_pair_that_never_settled_is_named_and_is_marked(monkeypatch: pytest.MonkeyPatch) -> None:
    Repeats(monkeypatch, [NOISY], takes=1.0)
    done = compare("title", [PAIR], 4)
    assert (done.rows[0]["settled"], done.rows[0]["repeats"]) == (False, measure._REPEATS)
    (note,) = done.notes
    assert note.startswith("rl-mlp, mine and theirs: quartiles never within 5 %, 0.")
    assert note.endswith(f"of the median in the best of {measure._REPEATS}")


def test_a_pair_that_settled_has_no_note(monkeypatch: pytest.MonkeyPatch) -> None:
    Repeats(monkeypatch, [NOISY, CALM], takes=1.0)
    done = compare("title", [PAIR], 4)
    assert (done.rows[0]["settled"], done.rows[0]["repeats"], done.notes) == (True, 2, [])


def test_a_contender_that_cannot_be_had_is_named_once_and_the_others_are_measured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def absent(shapes: Any) -> Any:
        raise UnavailableError("there is none")

    Repeats(monkeypatch, [CALM], takes=1.0)
    missing = Pair("rl-mlp", Contender("mine", nothing), Contender("other", absent))
    done = compare("title", [missing, PAIR, missing], 4)
    assert [row["theirs"] for row in done.rows] == ["theirs"]
    assert done.notes == ["not measured: other: there is none"]


def test_progress_says_which_pair_and_that_it_is_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    Repeats(monkeypatch, [NOISY, CALM], takes=1.0)
    lines: list[str] = []
    with heard_by(lines.append):
        compare("title", [PAIR, PAIR], 4)
    assert lines[0] == "1 of 2, rl-mlp, mine and theirs"
    assert lines[1].startswith("1 of 2, rl-mlp, mine and theirs: again, quartiles 0.")
    assert lines[2] == "2 of 2, rl-mlp, mine and theirs"
    compare("title", [PAIR], 4)  # nobody listens any more
    assert len(lines) == 3
