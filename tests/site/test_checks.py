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
    ("said", "body"),
    [
        ("no alt text on", f"<img {PICTURE}>"),
        ("no alt text on", f"<img {PICTURE} alt=' '>"),
        ("no alt text on", f"<img {PICTURE} alt='sub/picture.svg'>"),
        ("no width and height on", '<img src="picture.svg" alt="A picture">'),
        ("is neither SVG nor WebP", '<img src="photo.png" alt="A" width="2" height="2">'),
        ("it should have one <h1>", "<h1>again</h1>"),
        ("a table lacks headers", "<table><tr><td>1</td></tr></table>"),
        ("loads", '<script src="https://example.org/a.js"></script>'),
        ("loads", '<script src="//example.org/a.js"></script>'),
        ("loads", '<img src="http://example.org/a.svg" alt="A" width="1" height="1">'),
        ("loads", '<iframe src="https://example.org"></iframe>'),
        ("a script names", '<script>const there = "https://example.org/a.js"</script>'),
        ("leads nowhere", '<a href="missing.html">a</a>'),
        ("leads nowhere", '<a href="sub/other.html#missing">a</a>'),
        ("leads nowhere", '<a href="#missing">a</a>'),
        ("leads nowhere", '<a href="/page.html">not from a sub-path</a>'),
        ("leads nowhere", '<img src="missing.svg" alt="A" width="1" height="1">'),
    ],
)
def test_a_bad_page_is_named(tmp_path, said, body):
    (complaint,) = checks.all_complaints(site(tmp_path, body))
    assert complaint.startswith("page.html: ")
    assert said in complaint


def test_a_page_without_its_own_heading_is_found(tmp_path):
    (tmp_path / "page.html").write_text("<html><body><h2>Page</h2></body></html>")
    assert checks.all_complaints(tmp_path) == ["page.html: it should have one <h1>"]


def test_a_missing_preview_is_found(tmp_path):
    head = '<meta property="og:image" content="preview.png">'
    assert checks.all_complaints(site(tmp_path, "", head=head)) == [
        "page.html: preview.png leads nowhere"
    ]


def test_a_foreign_style_sheet_is_found(tmp_path):
    head = '<link rel="stylesheet" href="https://example.org/a.css">'
    assert checks.all_complaints(site(tmp_path, "", head=head)) == [
        "page.html: link loads https://example.org/a.css"
    ]


def test_a_foreign_font_is_found(tmp_path):
    site(tmp_path, "")
    (tmp_path / "a.css").write_text("@font-face { src: url('https://example.org/a.woff') }")
    assert checks.all_complaints(tmp_path) == ["a.css: url('https://example.org/a.woff"]


@pytest.mark.parametrize("name", ["_sources/01-pulp.ipynb.txt", "book/01-pulp.md", "conf.py"])
def test_published_sources_are_found(tmp_path, name):
    site(tmp_path, "")
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("the solution")
    (complaint,) = checks.all_complaints(tmp_path)
    assert name.startswith(complaint.removesuffix(": a source is published"))
