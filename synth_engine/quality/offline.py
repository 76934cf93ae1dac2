"""Data Docs that need no network: as built they fetch scripts, style sheets and a logo that tells who opened them when."""

from __future__ import annotations

import re
from html import escape
from pathlib import Path
from urllib.parse import quote

# scripts all depend on fetched ones, so none is kept; links to follow stay
_FETCHING = re.compile(
    r"""<script\b.*?</script\s*>|<(?:link|img)\b[^>]*?\b(?:href|src)\s*=\s*["']?(?:https?:)?//[^>]*>""", re.DOTALL | re.IGNORECASE
)
_FETCHING_STYLE = re.compile(r"""url\(\s*["']?(?:https?:)?//[^)]*\)""", re.IGNORECASE)

_HEAD = """<meta http-equiv="Content-Security-Policy" content="default-src 'self' file: data: 'unsafe-inline'">
<style>
body { font-family: sans-serif; margin: 0 2rem; }
table { border-collapse: collapse; }
th, td { border: 1px solid #ccc; padding: .3rem .6rem; text-align: left; }
button, .btn-group, .modal, .nav-tabs { display: none; }
</style>
</head>"""
"""The policy keeps browsers from fetching what a later release of the library may add; the style stands in for the fetched."""


def make_offline(site: Path) -> None:
    """Take out of every page and style sheet of a built site what a browser would fetch from elsewhere. The first page,
    whose table a script drew, lists the others instead."""
    for path in sorted(site.rglob("*.css")):
        path.write_text(_FETCHING_STYLE.sub("none", path.read_text(encoding="utf-8")), encoding="utf-8")
    for path in sorted(site.rglob("*.html")):
        page = _FETCHING_STYLE.sub("none", _FETCHING.sub("", path.read_text(encoding="utf-8"))).replace("</head>", _HEAD, 1)
        if path == site / "index.html":
            page = page.replace("</body>", f"<ul>{_links(site)}</ul></body>", 1)
        path.write_text(page, encoding="utf-8")


def _links(site: Path) -> str:
    pages = (path.relative_to(site) for kind in ("validations", "expectations") for path in sorted((site / kind).rglob("*.html")))
    return "".join(f'<li><a href="{quote(page.as_posix())}">{escape(f"{page.parts[0]}: {page.stem}")}</a></li>' for page in pages)
