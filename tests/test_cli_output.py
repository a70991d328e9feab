"""What every command prints: tables of any width, any encoding, JSON, and one line for a mistake."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from adamas import cli
from adamas._tools import modules
from adamas._tools.text import encodable, never_fail
from adamas.cli import app
from adamas.cli._output import show_json
from adamas.cli._table import show_facts, show_table, show_text

COMMANDS = [name.rstrip("_") for name in modules.names(cli.__name__)]
ROWS = [
    {
        "run": "cb5ab23161433f6c",
        "rule": "Adam lr 0.00316 beta1 0.9",
        "cost": 1.56412,
        "status": "done",
        "of": None,
    },
    {"run": "39854ac6ffd06c3a", "rule": "SGD, Nesterov", "cost": 12345.6, "status": "failed", "of": None},
]


def printed(width: int, *rows: dict[str, object], encoding: str = "utf-8") -> str:
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    show_table(Console(file=file, width=width), "A title of some length, longer than some tables are", rows)
    file.seek(0)
    return file.read()


@pytest.mark.parametrize("width", [26, 30, 40, 50, 60, 80, 120])
def test_a_table_fits_and_breaks_no_word(width: int) -> None:
    out = printed(width, *ROWS)
    assert max(map(len, out.splitlines())) <= width
    assert all(line == line.rstrip() for line in out.splitlines())
    words = set(out.split())
    for text in ("cb5ab23161433f6c", "39854ac6ffd06c3a", "Nesterov", "1.564", "status", "failed"):
        assert text in words


def test_numbers_stand_right_and_empty_columns_are_left_out() -> None:
    _, head, _, *rows = printed(80, *ROWS).splitlines()
    assert head.split() == ["run", "rule", "cost", "status"]
    assert rows[0].index("1.564") + len("1.564") == rows[1].index("1.235e+04") + len("1.235e+04")


def test_columns_that_do_not_fit_follow_behind_the_first() -> None:
    heads = [line.split() for line in printed(30, *ROWS).splitlines() if line.startswith("run")]
    assert [head[0] for head in heads] == ["run"] * len(heads)
    assert [name for head in heads for name in head[1:]] == ["rule", "cost", "status"]


def test_no_row_is_no_table() -> None:
    assert printed(80) == "A title of some length, longer than some tables are\n"


def test_cells_are_no_markup() -> None:
    assert "[red]" in printed(80, {"name": "[red]", "other": "[/]"})


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "latin-1"])
def test_a_table_is_spelled_in_what_its_stream_has(encoding: str) -> None:
    out = printed(
        80, {"α": "Nesterov, β₁ = 0.9", "time": "12 µs", "x": "R(T)/T ∝ 1/√T — 漢"}, encoding=encoding
    )
    assert "alpha" in out
    assert "beta1 = 0.9" in out
    assert "1/sqrtT" in out
    head, rule = out.splitlines()[1:3]
    assert len(rule) >= len(head)
    assert set(rule) == {"-"}


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("αΩλ", "alphaOmegalambda"),
        ("m₋ ← ½P⁻¹ß", "m- <- 1/2P-1ss"),
        ("µ×≤", "ux<="),
        ("é²…", "e2..."),
        ("\udcb5漢", "??"),
        ("plain", "plain"),
    ],
)
def test_characters_that_are_missing_are_spelled(text: str, plain: str) -> None:
    assert encodable(text, "ascii") == plain


def test_a_stream_never_fails() -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors="strict")
    never_fail(stream, None)
    stream.write("α \udcb5 ⠋")
    stream.seek(0)
    assert stream.read() == "alpha ? *"


def test_text_is_broken_between_words_and_indented() -> None:
    file = io.StringIO()
    show_text(Console(file=file, width=20), "measured: one two three four", indent=2)
    assert file.getvalue().splitlines() == ["  measured: one two", "  three four"]


def test_facts_are_names_and_values() -> None:
    file = io.StringIO()
    show_facts(Console(file=file, width=20), {"a_name": 1 / 3, "other": "one two three"})
    assert file.getvalue().splitlines() == ["a name  0.3333", "other   one two", "        three"]


def test_json_has_no_nan_and_escapes_what_the_stream_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    for encoding, raw in (("utf-8", "α"), ("ascii", "\\u03b1"), ("cp1252", "\\u03b1")):
        stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
        monkeypatch.setattr(sys, "stdout", stream)
        show_json({"α": [float("nan"), float("inf"), 1.5, (1,)]})
        monkeypatch.undo()
        stream.seek(0)
        text = stream.read()
        assert raw in text
        assert json.loads(text) == {"α": [None, None, 1.5, [1]]}


def program(*arguments: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "adamas", *arguments]
    return subprocess.run(command, env={**os.environ, **environment}, capture_output=True, check=False)


LOCALES = [
    {"PYTHONIOENCODING": "ascii"},
    {"PYTHONIOENCODING": "cp1252"},
    {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
]


@pytest.mark.parametrize("locale", LOCALES, ids=["ascii", "cp1252", "C"])
def test_a_mistake_is_one_line_in_any_encoding(locale: dict[str, str]) -> None:
    done = program("results", "--results", "µ-α", **locale)
    assert (done.returncode, done.stdout) == (2, b"")
    (line,) = done.stderr.splitlines()
    assert line.startswith(b"adamas: there are no results in ")
    assert line.isascii() or locale["PYTHONIOENCODING"] == "cp1252"


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("columns", [60, 80, 120])
def test_help_fits_in_ascii(name: str, columns: int) -> None:
    result = CliRunner(charset="ascii").invoke(app, [name, "--help"], env={"COLUMNS": str(columns)})
    assert result.exit_code == 0
    assert max(map(len, result.stdout.splitlines())) <= columns
    assert "Exit status" in result.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_wrong_arguments_are_one_line(name: str) -> None:
    result = CliRunner().invoke(app, [name, "--none-such"])
    assert (result.exit_code, result.stdout) == (2, "")
    (line,) = result.stderr.splitlines()
    assert line.startswith("adamas: No such option: --none-such")
    assert line.endswith(f"{name} --help)")


def test_a_full_disk_is_one_line() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full")
    with open("/dev/full", "wb") as full:
        command = [sys.executable, "-m", "adamas", "info", "--json"]
        done = subprocess.run(command, env=buffered(), stdout=full, stderr=subprocess.PIPE, check=False)
    (line,) = done.stderr.splitlines()
    assert done.returncode == 1
    assert line.startswith(b"adamas: ")


def buffered() -> dict[str, str]:
    """Output that stays in a buffer until the end."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}


def test_the_program_makes_its_streams_safe() -> None:
    script = "import adamas.cli, adamas.__main__ as m; adamas.cli.app = lambda: print('α'); m.main()"
    environment = {**os.environ, "PYTHONIOENCODING": "ascii:strict"}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, check=False)
    assert (done.returncode, done.stdout.split(), done.stderr) == (0, [b"alpha"], b"")


def test_a_reader_that_leaves_is_no_mistake() -> None:
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "adamas", "info", "--json"]  # less than a buffer
    done = subprocess.run(command, env=buffered(), stdout=write, stderr=subprocess.PIPE, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (1, b"")


def test_columns_are_obeyed_where_there_is_no_terminal() -> None:
    for columns in (40, 100):
        result = CliRunner().invoke(app, ["info"], env={"COLUMNS": str(columns)})
        assert max(map(len, result.stdout.splitlines())) <= columns
