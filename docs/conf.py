"""Sphinx's configuration of the site that scripts/build_site.py builds."""

import os
import re
from pathlib import Path

source = Path(os.environ["OTSR_SITE_SOURCE"])

project = "OTSR"
author = "The OTSR authors"
copyright = "The OTSR authors. Text and figures CC-BY-4.0, code MIT"
extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.mathjax",
    "sphinx.ext.viewcode",
]
exclude_patterns = ["extra"]
default_role = "code"

nb_execution_mode = "off"
nb_ipywidgets_js = {}  # they would come from a CDN
nb_merge_streams = True
myst_enable_extensions = ["dollarmath", "amsmath", "smartquotes"]
myst_heading_anchors = 3
myst_dmath_double_inline = True
suppress_warnings = ["mystnb.unknown_mime_type", "myst.header", "config.cache"]

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_custom_sections = [("Reference", "notes"), ("Source", "notes")]

html_theme = "sphinx_book_theme"
html_title = "OTSR"
html_context = {"default_mode": "auto"}
html_static_path = ["_static"]
html_extra_path = [str(source / "extra")]
html_css_files = ["site.css"]
html_js_files = ["site.js"]
html_copy_source = False
html_show_sourcelink = False
html_last_updated_fmt = None
html_theme_options = {
    "repository_url": "https://github.com/otsr-course/otsr",
    "use_repository_button": True,
    "use_download_button": False,
    "use_fullscreen_button": False,
    "show_toc_level": 2,
    "home_page_in_toc": True,
    "navbar_persistent": [],
}
mathjax_path = "../mathjax/tex-svg.js"
mathjax3_config = {"options": {"enableMenu": False}, "svg": {"fontCache": "global"}}


def plain_docstring(app, what, name, obj, options, lines):
    """Docstrings are plain text: outside `code`, the marks of reStructuredText are escaped."""
    for number, line in enumerate(lines):
        parts = re.split(r"(`[^`]*`)", line)
        parts[::2] = [re.sub(r"([*|\\]|(?<=\w)_(?!\w))", r"\\\1", part) for part in parts[::2]]
        lines[number] = "".join(parts)


def setup(app):
    app.connect("autodoc-process-docstring", plain_docstring, priority=100)
