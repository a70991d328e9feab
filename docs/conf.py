"""The site: `make docs` writes it to build/docs, offline, with warnings as errors."""

import os
import sys
from pathlib import Path

# Triton's text can be written without a GPU where its interpreter stands in for one.
os.environ.setdefault("TRITON_INTERPRET", "1")
sys.path.insert(0, str(Path(__file__).parent / "_ext"))

import explained

import adamas

project = "Adamas"
author = "The Adamas authors"
release = version = adamas.__version__
root_doc = "index"
exclude_patterns = ["_ext", "README.md"]

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "mathml",
    "docstrings",
    "links",
    "generated",
    "directives",
]

myst_enable_extensions = ["dollarmath", "colon_fence", "substitution"]
myst_heading_anchors = 3
# Numbers of the explanations, computed now as their figures are drawn.
myst_substitutions = explained.draw_all(Path(__file__).parent / "figures")
# "auto" is a string, with quotes as in code.
smartquotes_action = "D"
# A single backtick in a docstring is code, as in Markdown.
default_role = "code"
html_math_renderer = "mathml"

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
autodoc_inherit_docstrings = False
napoleon_numpy_docstring = False
napoleon_use_ivar = True

html_theme = "furo"
html_title = "Adamas"
html_static_path = ["_static"]
html_css_files = ["adamas.css"]
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False
pygments_style = "friendly"
pygments_dark_style = "github-dark"
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#0b5cad", "color-brand-content": "#0b5cad"},
    "dark_css_variables": {"color-brand-primary": "#6db3f2", "color-brand-content": "#6db3f2"},
}

# Types of other libraries, and ours that are not public, have no page to lead to; every other reference has.
nitpick_ignore_regex = [("py:(class|exc)", ".*")]
