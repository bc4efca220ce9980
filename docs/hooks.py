"""What the site needs beside the files of this folder: README.md as its first page, and every file of the repository that a page links to.

On the repository's pages links lead to files by their relative path, also out of ``docs/`` (``../../results/...``). On the site those files
lie beside the pages, so that it is complete by itself; a link to a folder becomes its text.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
LINK = re.compile(r"(!?)\[((?:[^\]\\]|\\.)*)\]\(([^)#\s]+)(#[^)]*)?\)")


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that lie outside this folder, and what is linked to."""
    for name, page in PAGES.items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / name)))
    for file in list(files.documentation_pages()):
        for target in targets(Path(file.abs_src_path or "")):
            place = site_path(target)
            if target.is_file() and files.get_file_from_path(place) is None:
                files.append(File.generated(config, place, abs_src_path=str(target)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Rewrite the links as seen from the page's place on the site."""
    source = Path(page.file.abs_src_path)

    def rewritten(link: re.Match[str]) -> str:
        image, text, target, anchor = link.groups()
        if "://" in target:
            return link[0]
        path = (source.parent / target).resolve()
        if path.is_dir():
            return text
        relative = os.path.relpath(site_path(path), Path(page.file.src_uri).parent)
        return f"{image}[{text}]({relative}{anchor or ''})"

    return LINK.sub(rewritten, markdown)


def targets(page: Path) -> list[Path]:
    """The files that a page links to."""
    found = [link[3] for link in LINK.finditer(page.read_text(encoding="utf-8"))]
    return [(page.parent / target).resolve() for target in found if "://" not in target]


def site_path(path: Path) -> str:
    """Where a file of the repository lies on the site."""
    if path.is_relative_to(DOCS):
        return path.relative_to(DOCS).as_posix()
    name = path.relative_to(ROOT).as_posix()
    return PAGES.get(name, name)
