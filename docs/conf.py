"""How the site is built: `make docs`. Nothing here needs the network.

The source folder is that of the repository, so that links from page to page, to the measured tables
and to the change log are the same here and in a checkout. Pages of algorithms, of the reference and
of examples are made first, of what stands in code (`docs/making`).
"""

import re
import sys
from pathlib import Path

from sphinx.application import Sphinx

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

import super_selfish  # noqa: E402
from docs.making import algorithms, notebooks, others, reference  # noqa: E402

project = "Super Selfish"
author = "The authors of Super Selfish"
copyright = "The authors of Super Selfish, MIT licence"
release = version = super_selfish.__version__
language = "en"

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "docs.making.mathml",
]
root_doc = "docs/index"
include_patterns = [
    "docs/**.md",
    "benchmarks/results/*.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
]
exclude_patterns = ["docs/notes", ".venv*", "build", ".git", "store", "tests", "super_selfish"]

myst_enable_extensions = ["dollarmath", "attrs_inline"]
myst_heading_anchors = 3
html_math_renderer = "mathml"

default_role = "literal"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_custom_sections = ["Shape"]
napoleon_use_rtype = False
napoleon_use_ivar = True
autodoc_typehints = "signature"
autoclass_content = "both"  # arguments stand with the constructor
autodoc_member_order = "bysource"
autodoc_inherit_docstrings = False
python_use_unqualified_type_names = True
nitpicky = True
# Signatures name types of torch, and classes of ours that nobody calls: these have no page here,
# and a list of torch's pages would have to be fetched. Links of pages are checked.
nitpick_ignore_regex = [("py:.*", ".*")]

html_theme = "furo"
html_title = "Super Selfish"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sphinx = False
html_copy_source = False
html_last_updated_fmt = None
html_theme_options = {"navigation_with_keys": True}


def setup(app: Sphinx) -> None:
    """Makes the pages that are made, before Sphinx looks for pages."""
    pages = ROOT / "docs"
    algorithms.write_all(pages / "algorithms")
    reference.write_all(pages / "reference")
    others.write_examples(pages / "examples")
    others.write_results(pages / "results")
    notebooks.write_pages(pages / "notebooks")
    app.connect("source-read", _fit_for_the_site)
    app.connect("autodoc-process-docstring", reference.as_rst)
    app.connect("build-finished", _home)


# What links of a checkout lead to on the site, where made pages take the place of files.
LINKS = {
    r"\]\(notes/(\w+)\.md": r"](algorithms/\1.md",
    r"\]\(notes\)": "](algorithms/index.md)",
    r"\]\(\.\./examples/(\w+)\.py\)": r"](examples/\1.md)",
    r"\]\(\.\./examples\)": "](examples/index.md)",
    r"\]\(\.\./examples/notebooks\)": "](notebooks/index.md)",
    r"\]\(\.\./examples/notebooks/(\w+)\.ipynb\)": r"](notebooks/\1.md)",
    r"\]\(\.\./benchmarks/results\)": "](results/index.md)",
    r"\]\(\.\./README\.md(#[\w-]+)?\)": "](index.md)",
}


def _fit_for_the_site(app: Sphinx, name: str, source: list[str]) -> None:
    """Leads links of a page to the pages that are made, and gives measured tables a title."""
    if name.startswith("benchmarks/results/"):
        source[0] = others.titled(Path(name).name, source[0])
    if name.startswith("docs/") and name.count("/") == 1:
        for link, other in LINKS.items():
            source[0] = re.sub(link, other, source[0])


def _home(app: Sphinx, error: Exception | None) -> None:
    """Sends who opens the folder to its first page."""
    if error is None and app.builder.name == "html":
        page = '<!doctype html><meta http-equiv="refresh" content="0; url=docs/index.html">\n'
        (Path(app.outdir) / "index.html").write_text(page, encoding="utf-8")
