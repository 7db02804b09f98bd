"""The documentation site: `make site` builds it into build/site, `make docs-serve` shows it while you write.

The pages are also read on GitHub, so they are plain Markdown.  Only the reference is made here, from the docstrings.
"""

import tomllib
from pathlib import Path

PROJECT = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())["project"]

project = "PC-DARTS search orchestrator"
author = PROJECT["authors"][0]["name"]
project_copyright = author
version = release = PROJECT["version"]

extensions = ["myst_parser", "sphinx.ext.autodoc"]
exclude_patterns = ["README.md"]
html_theme = "furo"
html_title = f"{project} {release}"
html_show_sphinx = False
html_copy_source = False

# Headings have the anchors that GitHub gives them; a link to one that is missing is a warning, and so an error.
myst_heading_anchors = 3

# Docstrings mark code with single backticks; fields are documented below them, in their order.
default_role = "literal"
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_class_signature = "separated"
autodoc_default_options = {"members": True}
add_module_names = False
python_use_unqualified_type_names = True

# Types of this project in signatures must have an entry, but for those of the driver's inside; those of other packages
# have their own documentation.
nitpicky = True
nitpick_ignore_regex = [
    ("py:.*", r"(?!(pcdarts|analysis|orchestrator|cluster)\.).*"),
    ("py:class", r".*\.(T|Config)"),
    ("py:class", r"orchestrator\.trials\..*"),
]
