"""Hooks of the site: the repository's own pages become pages of it, and nothing is from elsewhere.

Input: README.md, CONTRIBUTING.md and CHANGELOG.md beside docs/, and the walkthrough, a notebook.
Output: index.md, contributing.md, changelog.md and walkthrough.md of the site, with links that lead
to its pages. A built page that would fetch a script, a style or a picture from the network ends the
build.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
PAGES = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md"}
PAGES["CHANGELOG.md"] = "changelog.md"
NOTEBOOK = "walkthrough"
_LINK = re.compile(r"(\]\()((?:\.\./)*)(README|CONTRIBUTING|CHANGELOG)(\.md)")
_FETCHED = re.compile(
    r"<(?:script|img|iframe)[^>]*\ssrc=\"?https?:[^>]*>|<link[^>]*stylesheet[^>]*https?:[^>]*>"
)


def as_markdown(notebook: dict[str, Any]) -> str:
    """Return a notebook's text and code; what it prints is made anew by whoever runs it."""
    parts = []
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        parts.append(source if cell["cell_type"] == "markdown" else f"```python\n{source}\n```")
    return "\n\n".join(parts) + "\n"


def at_home(text: str) -> str:
    """Return a page beside docs/ with links as from inside."""
    return re.sub(r"\]\(docs/", "](", text)


def linked(text: str) -> str:
    """Return a page with links to the repository's own pages as those of the site."""

    def there(match: re.Match[str]) -> str:
        ups = match[2].removeprefix("../")
        return f"{match[1]}{ups}{PAGES[match[3] + match[4]]}"

    return _LINK.sub(there, text)


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that lie elsewhere."""
    for name, page in PAGES.items():
        text = at_home((ROOT / name).read_text(encoding="utf-8"))
        files.append(File.generated(config, page, content=text))
    file = ROOT / "docs" / f"{NOTEBOOK}.ipynb"
    if file.is_file():
        text = as_markdown(json.loads(file.read_text(encoding="utf-8")))
        files.append(File.generated(config, f"{NOTEBOOK}.md", content=text))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Lead links to the repository's own pages to those of the site."""
    return linked(markdown)


def on_post_build(config: Any) -> None:
    """Refuse a site that needs the network to be read."""
    for page in Path(config.site_dir).rglob("*.html"):
        if found := _FETCHED.search(page.read_text(encoding="utf-8")):
            raise PluginError(f"{page} fetches {found[0]} from the network")
