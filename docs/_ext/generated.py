"""Pages that the build writes: one a rule, one a public module, and the options of a step."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from pathlib import Path

from rule_pages import rule_index, rule_page
from sphinx.application import Sphinx
from sphinx.ext.napoleon import GoogleDocstring

import adamas
from adamas.rules import Rule
from adamas.rules._found import rule_classes
from adamas.torch import launchers
from adamas.torch.keywords import OPTIONS_DOC, STEP_OPTIONS
from adamas.torch.optimizer import FusedOptimizer

__all__ = ["setup"]


def public_modules() -> list[str]:
    """The modules with public names, found as the test of them finds them."""
    found = [m.name for m in pkgutil.iter_modules(adamas.__path__) if not m.name.startswith("_")]
    modules = [f"adamas.{name}" for name in found]
    return ["adamas"] + [name for name in modules if importlib.import_module(name).__all__]


def module_page(name: str) -> str:
    """The reference of a module: its text, then every name of its `__all__`."""
    module = importlib.import_module(name)
    parts = [_title(name), f".. automodule:: {name}\n   :no-members:\n"]
    for each in sorted(module.__all__, key=str.lower):
        parts.append(_entry(name, each, getattr(module, each)))
    return "\n".join(parts)


def _entry(module: str, name: str, value: object) -> str:
    path = f"{module}.{name}"
    if inspect.isclass(value) and issubclass(value, Rule) and value is not Rule:
        # A rule is described once, on its own page.
        return f"- :class:`~adamas.rules.{name}`: :doc:`formula, kernel and path </rules/{name.lower()}>`\n"
    if inspect.isclass(value):
        members = "" if issubclass(value, (FusedOptimizer, Exception)) else "   :members:\n"
        return f".. autoclass:: {path}\n{members}"
    if inspect.isroutine(value):
        return f".. autofunction:: {path}\n"
    return f".. py:data:: {path}\n\n   {_VALUES.get(name, '')}\n"


_VALUES = {
    "__version__": "The version of the package, a string.",
    "xp": "The array namespace of a rule: `xp.sqrt`, `abs`, `maximum`, `minimum`, `where`, `sign`.",
    "SIGNED": "A slot whose values may be negative, of the parameter's shape; zero before the first step.",
    "NONNEGATIVE": "A slot of values of at least 0, of the parameter's shape; zero before the first step.",
    "BLOCK": "The elements that share a scale in float8 and float4: 128.",
    "HOST": "The functions of a rule for plain floats.",
    "app": "The command `adamas`, an application of typer; `adamas --help` lists its commands.",
}


def options_page() -> str:
    """The keyword arguments of every optimizer, from the text that stands in their docstrings."""
    names = ", ".join(f'"{name}"' for name in launchers.names())
    text = str(GoogleDocstring(OPTIONS_DOC.format(backends=names).strip()))
    for name, parameter in STEP_OPTIONS.items():
        text = text.replace(f":param {name}:", f"- **{name}** = `{parameter.default!r}`:")
    return "\n".join([_title("Options of a step"), text])


def methods_page() -> str:
    """What all optimizers have beside torch's own methods."""
    classes = [c for c in FusedOptimizer.__mro__ if c.__module__.startswith("adamas.")]
    parts = [_title("What every optimizer has")]
    parts.append("Beside torch's own methods, all classes of :doc:`adamas.torch <adamas.torch>` have:\n")
    seen: set[str] = {"rule_of"}
    for cls in classes:
        for name, value in vars(cls).items():
            if (
                name.startswith("_")
                or name in seen
                or not (inspect.isroutine(value) or isinstance(value, property))
            ):
                continue
            if not inspect.getdoc(value):
                continue
            seen.add(name)
            kind = "autoproperty" if isinstance(value, property) else "automethod"
            parts.append(f".. {kind}:: {cls.__module__}.{cls.__name__}.{name}\n   :no-index:\n")
    parts.append(".. autoclass:: adamas.torch.options.StepInfo\n   :no-index:\n")
    return "\n".join(parts)


def api_index(modules: list[str]) -> str:
    """The list of the reference's pages."""
    listed = "\n".join(f"   {name}" for name in [*modules, "optimizer", "step-options"])
    text = "Every public name. Rules have :doc:`pages of their own </rules/index>`.\n"
    return "\n".join([_title("Reference"), text, f".. toctree::\n   :maxdepth: 1\n\n{listed}\n"])


def _title(text: str) -> str:
    return f"{text}\n{'=' * len(text)}\n"


def _write(path: Path, text: str) -> None:
    """Write a page where it differs: Sphinx then reads only what changed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")


def _generate(app: Sphinx) -> None:
    root = Path(app.srcdir)
    rules = rule_classes()
    for name, cls in rules.items():
        _write(root / "rules" / f"{name.lower()}.rst", rule_page(cls, root / "figures"))
    _write(root / "rules" / "index.rst", rule_index(rules))
    modules = public_modules()
    for module in modules:
        _write(root / "api" / f"{module}.rst", module_page(module))
    _write(root / "api" / "optimizer.rst", methods_page())
    _write(root / "api" / "step-options.rst", options_page())
    _write(root / "api" / "index.rst", api_index(modules))


def setup(app: Sphinx) -> dict[str, bool]:
    """Write the pages before the sources are listed."""
    app.connect("builder-inited", _generate)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
