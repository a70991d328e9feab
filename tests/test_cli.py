import importlib.metadata
import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

import adamas
from adamas import cli
from adamas._tools import modules
from adamas._tools.machine import cpu_model
from adamas._tools.versions import versions
from adamas.backends.numba import architecture, vector_bits
from adamas.backends.numba import cache_folder as kernels_folder
from adamas.cli import app
from adamas.experiments import figures
from adamas.experiments.datasets import _download, mnist


def adamas_command(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    return result.exit_code, result.stdout, result.stderr


def python(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)


def test_version() -> None:
    assert adamas_command("--version") == (0, f"adamas {adamas.__version__}\n", "")


def test_help_tells_presets_data_and_exit_status() -> None:
    code, out, _ = adamas_command("reproduce", "--help")
    assert code == 0
    for word in (
        "demo",
        "quick",
        "paper",
        "ADAMAS_DATA",
        "--results",
        "--jobs",
        "--json",
        "Exit status",
        "130",
    ):
        assert word in out


def test_info_is_a_table_and_json(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ADAMAS_CACHE", str(tmp_path))
    code, out, _ = adamas_command("info", "--json")
    facts = json.loads(out)
    assert code == 0
    packages = {"adamas", "numpy", "numba", "scikit-learn", "scipy", "torch", "triton", "jax", "optax"}
    installed = {"python": platform.python_version(), **versions(packages)}
    libraries = {name: facts[name] for name in ("BLAS of numpy", "BLAS of torch", "CUDA")}
    assert all(libraries.values())
    assert ("not used" in libraries["CUDA"]) is not torch.cuda.is_available()
    assert facts == {
        **installed,
        **libraries,
        "cpu": cpu_model(),
        "architecture": architecture(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "vector bits": vector_bits(),
        "cache": str(tmp_path),
        "kernels": str(kernels_folder()),
        "data sets": os.environ.get("ADAMAS_DATA", f"downloaded into {tmp_path}"),
        "results": str(Path("adamas-results").absolute()),
    }
    code, out, _ = adamas_command("info")
    assert code == 0
    assert max(map(len, out.splitlines())) <= 80
    # a value that is too long goes on in the next line
    shown = "".join(out.split())
    for name, value in facts.items():
        assert f"{name}{value}".replace(" ", "") in shown


def test_info_says_which_folder_takes_the_place_of_one_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    environment = {**os.environ, "ADAMAS_CACHE": str(tmp_path / "file")}
    command = [sys.executable, "-m", "adamas", "info", "--json"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    used, *why = json.loads(done.stdout)["kernels"].split(", which goes with this process: ")
    assert str(tmp_path) not in used
    assert not Path(used).exists()
    assert f"kernels cannot be kept in {tmp_path / 'file'}" in why[0]
    assert done.stderr == ""


def test_info_counts_its_own_threads_without_torch() -> None:
    program = (
        "import sys; sys.modules['torch'] = None; sys.argv = ['adamas', 'info', '--json'];"
        "from adamas.__main__ import main; main()"
    )
    facts = json.loads(python(program).stdout)
    assert facts["threads"] == facts["cores"]


def test_info_names_a_package_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    installed = importlib.metadata.version

    def version(package: str) -> str:
        if package == "torch":
            raise importlib.metadata.PackageNotFoundError(package)
        return installed(package)

    monkeypatch.setattr(importlib.metadata, "version", version)
    facts = json.loads(adamas_command("info", "--json")[1])
    assert (facts["torch"], facts["numpy"]) == ("not installed", installed("numpy"))


def test_a_plan_is_a_table_and_json() -> None:
    one = ("info", "--plan", "70e9", "--ranks", "64", "--state", "float8", "--bandwidth", "2000")
    code, out, err = adamas_command(*one)
    assert (code, err) == (0, "")
    assert max(map(len, out.splitlines())) <= 80
    for text in (
        "Llama 2 70B",
        "68,976,648,192 parameters, 64 ranks",
        "peak, stepped in backward",
        "assumed:",
    ):
        assert text in out
    (plan,) = json.loads(adamas_command(*one, "--json")[1])
    assert f"a step at 2000 GB/s: {plan['seconds']:.3g} s" in out
    assert plan["seconds"] == plan["moved"] / 2000e9
    # Two bytes a parameter, and two moments of a byte and a scale for 128 each.
    assert plan["parameters"] == plan["gradients"] == 2 * 68_976_648_192 // 64
    assert sum(plan["state"].values()) == pytest.approx(2 * (1 + 4 / 128) * 68_976_648_192 / 64, rel=2e-3)
    many = adamas_command("info", "--plan", "7e9", "--plan", "405e9", "--ranks", "8", "--ranks", "1024")
    assert max(map(len, many[1].splitlines())) <= 80
    rows = [line.split()[:2] for line in many[1].splitlines()]
    assert all([size, ranks] in rows for size in ("6.74B", "406B") for ranks in ("8", "1024"))


@pytest.mark.parametrize(
    ("option", "value", "named"),
    [
        ("--state", "float9", "state_format must be one of"),
        ("--optimizer", "Adams", "--optimizer must be a class of adamas.torch such as AdamW, got 'Adams'"),
        ("--dtype", "int8", "--dtype must be one of torch's floating-point types, got 'int8'"),
        ("--replicas", "3", "--ranks 8 is not a multiple of --replicas 3"),
        ("--plan", "1e6", "fewer than one layer"),
        ("--bandwidth", "-1", "bandwidth must be positive"),
    ],
)
def test_a_plan_with_a_mistake_names_it(option: str, value: str, named: str) -> None:
    code, out, err = adamas_command("info", "--plan", "7e9", "--ranks", "8", option, value)
    assert (code, out) == (2, "")
    assert named in " ".join(err.split())


def test_a_simulated_plan_shows_both(monkeypatch: pytest.MonkeyPatch) -> None:
    from adamas.bench import exchange
    from adamas.torch.footprint import Exchange

    monkeypatch.setattr(exchange, "simulate", lambda *_: Exchange(1, 2, 3, 4))
    code, out, _ = adamas_command("info", "--plan", "7e9", "--ranks", "8", "--simulate")
    assert code == 0
    assert "sent in a simulated step: 10 bytes" in out
    (plan,) = json.loads(adamas_command("info", "--plan", "7e9", "--ranks", "8", "--simulate", "--json")[1])
    assert plan["simulated"] == {"all_gather": 1, "reduce_scatter": 2, "all_reduce": 3, "optimizer": 4}


# The file of each command by its name.
COMMANDS = {name.rstrip("_"): name for name in modules.names(cli.__name__)}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(name: str) -> None:
    code, out, err = adamas_command(name, "--help")
    assert (code, err) == (0, "")
    assert f"adamas {name}" in " ".join(out.split()) or f" {name} " in out
    tables = "show_table" in vars(modules.load(cli.__name__, COMMANDS[name]))
    assert tables <= ("--json" in out)
    assert name in adamas_command("--help")[1]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_refuses_an_option_that_it_lacks(name: str) -> None:
    code, out, err = adamas_command(name, "--none-such")
    assert (code, out) == (2, "")
    assert "--none-such" in err


def test_an_unknown_figure_is_named_with_those_there_are(tmp_path: Path) -> None:
    results = tmp_path / "results"
    code, out, err = adamas_command("reproduce", "fig9", "--results", str(results))
    known = ", ".join(modules.names(figures.__name__))
    assert (code, out, err) == (2, "", f"adamas: unknown figure 'fig9'; known: {known}\n")
    assert not results.exists()


@pytest.mark.parametrize(
    "arguments", [["--preset", "huge"], ["--jobs", "0"], ["--jobs", "two"], ["--unknown"]]
)
def test_bad_options_are_named(tmp_path: Path, arguments: list[str]) -> None:
    results = tmp_path / "results"
    code, out, err = adamas_command("reproduce", "fig1", "--results", str(results), *arguments)
    assert (code, out) == (2, "")
    assert arguments[0] in err
    assert not results.exists()


def test_an_unwritable_folder_is_named_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("kept")
    code, out, err = adamas_command("reproduce", "fig1", "--results", str(tmp_path / "file"))
    assert (code, out) == (2, "")
    assert err.startswith(
        f"adamas: results cannot be written to {tmp_path / 'file'}: Not a directory. Name another"
    )
    assert (tmp_path / "file").read_text() == "kept"


def test_corrupt_data_are_named_before_any_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "data" / "mnist" / "train-images-idx3-ubyte.gz"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"corrupt")
    monkeypatch.setenv(_download.VARIABLE, str(tmp_path / "data"))
    mnist.load.cache_clear()
    results = tmp_path / "results"
    code, out, err = adamas_command("reproduce", "fig1", "--preset", "quick", "--results", str(results))
    assert (code, out) == (2, "")
    assert err.startswith(f"adamas: {path} is corrupt or truncated")
    assert [file for file in results.rglob("*") if file.is_file()] == []


def test_starting_the_command_line_loads_neither_torch_nor_matplotlib() -> None:
    heavy = {"torch", "matplotlib", "sklearn", "scipy", "numba"}
    found = python(f"import sys, adamas.cli; print({heavy} & set(sys.modules))")
    assert (found.stdout, found.stderr) == ("set()\n", "")


@pytest.mark.parametrize("package", ["typer", "torch", "matplotlib", "sklearn"])
def test_a_missing_package_is_named_with_its_extra(package: str) -> None:
    missing = f"import sys; sys.modules[{package!r}] = None; sys.argv = ['adamas', 'reproduce', 'fig1']"
    found = python(f"{missing}; from adamas.__main__ import main; main()")
    assert found.returncode == 1
    assert found.stdout == ""
    assert found.stderr == (
        f"adamas: the package {package!r} is not installed: "
        "pip install -e '.[experiments]' in a clone of adamas\n"
    )


@pytest.mark.slow
def test_the_demo_gives_tables_findings_and_pictures(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "adamas", "reproduce", "fig1", "--results", str(tmp_path / "results")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    for text in (
        "(not MNIST)",
        "SYNTHETIC",
        "best lr",
        "Adam",
        "SGD Nesterov",
        "RMSProp",
        "measured:",
        "fig1-demo.svg",
    ):
        assert text in " ".join(done.stdout.split())  # lines are wrapped
    again = subprocess.run([*command, "--json"], capture_output=True, text=True, check=True)
    assert again.stderr == ""
    shown = json.loads(again.stdout)
    curves, _, more, _ = shown["tables"]  # behind each, what was searched
    assert [len(table["rows"]) for table in shown["tables"]] == [4, 4, 5, 5]
    for table in (curves, more):
        assert all(row["final_cost"] < 0.5 for row in table["rows"])
        assert all(finding["verdict"] != "not measured" for finding in table["findings"])
