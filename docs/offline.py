"""A hook of mkdocs (mkdocs.yml): the built site loads nothing from other hosts, so that it works offline."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

_LOADS = re.compile(r"<(?:script|link|img|iframe|source|video)\b[^>]*?\b(?:src|href)=[\"'](?:https?:)?//[^\"']*", re.I)
_SCRIPTED = re.compile(r"<(?:pre|div) class=[\"']mermaid\b[^>]*")  # the theme fetches mermaid.js for these


def loaded(html: str) -> list[str]:
    """What a page would load from another host: the beginning of each such tag."""
    return [*_LOADS.findall(html), *_SCRIPTED.findall(html)]


def on_post_build(config: Any) -> None:
    """mkdocs calls this after it wrote the site. Raises PluginError where a page loads something from elsewhere."""
    from mkdocs.exceptions import PluginError  # noqa: PLC0415  (the tests have no mkdocs)

    for page in sorted(Path(config["site_dir"]).rglob("*.html")):
        if found := loaded(page.read_text(encoding="utf-8")):
            raise PluginError(f"{page} loads from another host: {found[0]}")
