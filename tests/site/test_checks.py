"""Each check of `tools/site/checks.py` finds what it is for, and only that."""

from pathlib import Path

import pytest

from tools.site import checks

PICTURE = "src='picture.svg' width='20' height='10'"


def site(folder: Path, body: str, *, head: str = "") -> Path:
    (folder / "sub").mkdir()
    (folder / "picture.svg").write_text("<svg/>")
    (folder / "photo.png").write_bytes(b"")
    (folder / "sub" / "other.html").write_text(
        '<html><body><main><h1>Other</h1><p id="b">b</p></main></body></html>'
    )
    (folder / "page.html").write_text(
        f"<html><head>{head}</head>"
        f'<body><main><h1>Page</h1><p id="a c">a</p>{body}</main></body></html>'
    )
    return folder


@pytest.mark.parametrize(
    "body",
    [
        f"<img {PICTURE} alt='A picture'>",
        "<table><tr><th>a</th></tr><tr><td>1</td></tr></table>",
        '<a href="sub/other.html#b">b</a><a href="#a%20c">a</a><a href="#">top</a>',
        '<a href="https://example.org/book">elsewhere</a><a href="mailto:a@example.org">mail</a>',
        '<a href="picture.svg?digest=1">file</a>',
        "<script>let title = 'a // b';</script>",
    ],
)
def test_a_good_page_has_no_complaints(tmp_path, body):
    assert checks.all_complaints(site(tmp_path, body)) == []


@pytest.mark.parametrize(
    ("check", "body"),
    [
        (checks.images_without_alt, f"<img {PICTURE}>"),
        (checks.images_without_alt, f"<img {PICTURE} alt=' '>"),
        (checks.images_without_alt, f"<img {PICTURE} alt='sub/picture.svg'>"),
        (checks.unsized_images, '<img src="picture.svg" alt="A picture">'),
        (checks.unsized_images, '<img src="photo.png" alt="A" width="2" height="2">'),
        (checks.pages_without_one_title, "<h1>again</h1>"),
        (checks.tables_without_headers, "<table><tr><td>1</td></tr></table>"),
        (checks.foreign_loads, '<script src="https://example.org/a.js"></script>'),
        (checks.foreign_loads, '<script src="//example.org/a.js"></script>'),
        (checks.foreign_loads, '<img src="http://example.org/a.svg" alt="A" width="1" height="1">'),
        (checks.foreign_loads, '<iframe src="https://example.org"></iframe>'),
        (checks.foreign_loads, '<script>const there = "https://example.org/a.js"</script>'),
        (checks.dead_links, '<a href="missing.html">a</a>'),
        (checks.dead_links, '<a href="sub/other.html#missing">a</a>'),
        (checks.dead_links, '<a href="#missing">a</a>'),
        (checks.dead_links, '<a href="/page.html">not from a sub-path</a>'),
        (checks.dead_links, '<img src="missing.svg" alt="A" width="1" height="1">'),
    ],
)
def test_a_bad_page_is_named(tmp_path, check, body):
    (complaint,) = check(site(tmp_path, body))
    assert complaint.startswith("page.html: ")
    assert complaint in checks.all_complaints(tmp_path)


def test_a_page_without_its_own_heading_is_found(tmp_path):
    (tmp_path / "page.html").write_text("<html><body><h2>Page</h2></body></html>")
    assert checks.pages_without_one_title(tmp_path) == ["page.html: it should have one <h1>"]


def test_a_missing_preview_is_found(tmp_path):
    head = '<meta property="og:image" content="preview.png">'
    assert checks.dead_links(site(tmp_path, "", head=head)) == [
        "page.html: preview.png leads nowhere"
    ]


def test_a_foreign_style_sheet_is_found(tmp_path):
    head = '<link rel="stylesheet" href="https://example.org/a.css">'
    assert checks.foreign_loads(site(tmp_path, "", head=head)) == [
        "page.html: link loads https://example.org/a.css"
    ]


def test_a_foreign_font_is_found(tmp_path):
    site(tmp_path, "")
    (tmp_path / "a.css").write_text("@font-face { src: url('https://example.org/a.woff') }")
    assert checks.foreign_loads(tmp_path) == ["a.css: url('https://example.org/a.woff"]


@pytest.mark.parametrize("name", ["_sources/01-pulp.ipynb.txt", "book/01-pulp.md", "conf.py"])
def test_published_sources_are_found(tmp_path, name):
    site(tmp_path, "")
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("the solution")
    (complaint,) = checks.published_sources(tmp_path)
    assert name.startswith(complaint.removesuffix(": a source is published"))
