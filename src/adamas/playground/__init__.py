"""The playground: the rules in a browser, on test functions of two variables, in one page without network.

Needs the extra `play`. A function is one file of `functions/`, an object of JavaScript; a rule comes from
`adamas.rules`, or from the caller, through `adamas.backends.javascript`.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from importlib.resources import files

from ..backends.javascript import RUNTIME
from ..rules import Rule
from ..rules._found import rule_classes
from ._rules import variants

__all__ = ["page"]

_SCRIPTS = ["format", "rules", "address", "stage", "charts", "editor", "lanes", "clock", "main"]


def page(rules: Sequence[Rule | type[Rule]] | None = None) -> str:
    """The playground as one HTML page, which asks no network.

    Args:
        rules: rules of the caller's own, beside those of `adamas.rules`; the page opens with the first three
            of them beside Adam. By default none.

    Raises:
        ModuleNotFoundError: plotly is not installed; the message names the extra.
        RuleSourceError, TypeError, ValueError: a rule cannot become JavaScript; the message says what to
            write.
    """
    own = [each() if isinstance(each, type) else each for each in rules or ()]
    # A point of the page is stepped coordinate by coordinate: rules with sums over a tensor are not there.
    made = {name: cls() for name, cls in rule_classes().items()}
    found = {name: variants(rule) for name, rule in made.items() if rule.form().reduction is None}
    first = []
    for rule in own:
        first.append(_title(type(rule).__name__, found))
        found[first[-1]] = variants(rule)
    parts = {
        "style": _read("style.css"),
        "plotly": _plotly(),
        "shared": "\n".join([RUNTIME, _functions(), _read("shared.js")]),
        "worker": _read("worker.js"),
        "rules": _rule_script(found, first),
        "script": "\n".join(_read(f"{name}.js") for name in _SCRIPTS),
    }
    text = _read("page.html")
    for name, part in parts.items():
        text = text.replace(f"{{{{ {name} }}}}", part)
    return text


def _title(name: str, taken: Mapping[str, object]) -> str:
    """A name for a rule of the caller's that is not taken."""
    if name in rule_classes():
        name = f"{name} (yours)"
    numbered = (f"{name} {k}" for k in itertools.count(2))
    return name if name not in taken else next(each for each in numbered if each not in taken)


def _read(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def _plotly() -> str:
    try:
        from plotly.offline import get_plotlyjs
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            'the playground needs plotly, the extra "adamas[play]": pip install plotly', name=error.name
        ) from None
    return str(get_plotlyjs())


def _functions() -> str:
    """The functions of the folder, by the names of their files."""
    folder = files(__package__).joinpath("functions")
    found = {each.name.removesuffix(".js"): each for each in folder.iterdir() if each.name.endswith(".js")}
    texts = (f"{json.dumps(name)}:\n{found[name].read_text(encoding='utf-8')}" for name in sorted(found))
    return f"const FUNCTIONS = {{\n{','.join(texts)}}};"


def _rule_script(found: dict[str, list[str]], first: list[str]) -> str:
    """The texts of rules, and the rules themselves, of which the page reads the names and numbers."""
    texts = json.dumps(found, ensure_ascii=False)
    values = ",\n".join(f"{json.dumps(name)}: [{', '.join(each)}]" for name, each in found.items())
    script = f"const TEXTS = {texts};\nconst RULES = {{\n{values}\n}};\nconst FIRST = {json.dumps(first)};"
    return script.replace("</", "<\\/")
