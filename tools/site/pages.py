"""The pages of a built site: each read once, changed by all that adds to it, and written once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from bs4 import BeautifulSoup, Tag

from tools import ToolError


class SiteError(ToolError):
    """The site cannot be built, may not be shown or cannot be printed; the message says why."""


@dataclass(frozen=True)
class Page:
    """One page: where the site is, where the page is in it, and the addresses it will have."""

    site: Path
    path: Path
    address: str = ""
    repository: str = ""

    @property
    def name(self) -> str:
        """Where the page lies in the site."""
        return self.path.relative_to(self.site).as_posix()

    def beside(self, target: str) -> Path:
        """Return the file that a relative address on this page stands for."""
        return self.path.parent / target.split("?")[0].split("#")[0]

    def up(self, target: str) -> str:
        """Return the address on this page of a file of the site."""
        return "../" * self.name.count("/") + target


Change = Callable[[BeautifulSoup, Page], None]


def change_pages(
    site: Path, changes: Iterable[Change], address: str = "", repository: str = ""
) -> None:
    """Apply changes, one after the other, to every page of a site."""
    changes = list(changes)
    for path in read_pages(site):
        html = parse(path)
        for change in changes:
            change(html, Page(site, path, address, repository))
        path.write_text(str(html), encoding="utf-8")


def read_pages(site: Path) -> list[Path]:
    """List the pages that readers open: not the theme's templates, not the redirect at the root."""
    pages = (page for page in sorted(site.rglob("*.html")) if "_static" not in page.parts)
    return [page for page in pages if page != site / "index.html"]


def parse(page: Path) -> BeautifulSoup:
    """Read a page."""
    return BeautifulSoup(page.read_text(encoding="utf-8"), "html.parser")


def link(html: BeautifulSoup, address: str, text: str, **attributes: str) -> Tag:
    """Make a link."""
    return html.new_tag("a", attrs={"href": address, **attributes}, string=text)


def below_title(html: BeautifulSoup, *line: str | Tag, kind: str = "d-print-none") -> None:
    """Put a line below the title of a page that has one; most would lead nowhere on paper."""
    if title := html.select_one("article h1"):
        paragraph = html.new_tag("p", attrs={"class": kind})
        paragraph.extend(line)
        title.insert_after(paragraph)
