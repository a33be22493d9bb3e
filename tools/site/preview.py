"""Draw the pictures on the front page and beside links to the book, from the pulp data.

    python -m tools.site.preview

`book/_static/front.svg` is on the front page. `book/_static/preview.png` is what messengers show,
which take no SVG. Both are committed; a test holds the front page's to the numbers of mmlib.
"""

from __future__ import annotations

import base64
import tempfile
from collections import Counter
from pathlib import Path

import mmlib as mm
from tools import ROOT, run
from tools.site.chromium import chromium

STATIC = ROOT / "book" / "_static"
PREVIEW_SIZE = {"width": 1200, "height": 630, "deviceScaleFactor": 1, "mobile": False}
_FRONT = """\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 640 264" width="640" height="264" \
font-family="DejaVu Sans, Verdana, sans-serif" font-size="14" text-anchor="middle">
{points}
{labels}
</svg>
"""
_PREVIEW = """\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1200 630" width="1200" height="630" \
font-family="DejaVu Sans, Verdana, sans-serif">
  <rect width="1200" height="630" fill="#00568c"/>
  <rect y="606" width="1200" height="24" fill="#f0a81c"/>
  <g fill="#fff">
    <text x="72" y="196" font-size="78" font-weight="bold">Mixed Models</text>
    <text x="72" y="288" font-size="78" font-weight="bold">in Python</text>
    <text x="72" y="378" font-size="33">A workbook whose every number</text>
    <text x="72" y="424" font-size="33">is regenerated and checked</text>
    <text x="72" y="520" font-size="27">on paper · by hand in numpy · with mmlib</text>
  </g>
{points}
</svg>
"""


def points(
    left: float, middle: float, step: float, scale: float, *, colours: tuple[str, str, str, str]
) -> str:
    """Draw sheets, operator means and the operators' predicted means, as elements of an SVG.

    Parameters
    ----------
    left, middle, step, scale : float
        Where the first operator and the overall mean are, the distance of two operators, and the
        pixels of one unit of brightness.
    colours : tuple of str
        Of the sheets, the means, the predictions, and the rim of these.
    """
    pulp = mm.load_dataset("pulp")
    fit = mm.lmm("bright ~ 1 + (1 | operator)", pulp)
    modes = fit.ranef()["operator"]["Intercept"]
    mean = float(fit.fixef()["Intercept"])
    sheet, bar, mode, rim = colours
    right = left + step * (len(modes) - 1)
    drawn = [
        f'  <path d="M{left - 45:g} {middle:g}H{right + 45:g}" stroke="{bar}" '
        'stroke-width="3" stroke-dasharray="12 8"/>'
    ]
    for number, (_, sheets) in enumerate(pulp.groupby("operator", observed=True)["bright"]):
        x = left + step * number
        y_mean = middle - scale * (sheets.mean() - mean)
        y_mode = middle - scale * float(modes.iloc[number])
        for value, times in Counter(sheets.tolist()).items():
            drawn += [
                f'  <circle cx="{x + 20 * k:g}" cy="{middle - scale * (value - mean):.1f}" r="6" '
                f'fill="{sheet}"/>'
                for k in range(times)
            ]
        drawn += [
            f'  <path d="M{x - 34:g} {y_mean:.1f}h68" stroke="{bar}" stroke-width="5"/>',
            f'  <circle cx="{x:g}" cy="{y_mode:.1f}" r="10" stroke="{rim}" stroke-width="2" '
            f'fill="{mode}"/>',
        ]
    return "\n".join(drawn)


def front() -> str:
    """Return the picture of the front page, drawn on white."""
    labels = "\n".join(
        f'  <text x="{90 + 150 * number}" y="254" fill="#333">operator {operator}</text>'
        for number, operator in enumerate("abcd")
    )
    drawn = points(90, 122, 150, 165, colours=("#7fb6dc", "#222", "#d55e00", "#fff"))
    return _FRONT.format(points=drawn, labels=labels)


def preview() -> bytes:
    """Return the picture for messengers, as PNG."""
    drawn = points(790, 315, 105, 330, colours=("#9fc9e8", "#fff", "#f0a81c", "#00568c"))
    with tempfile.TemporaryDirectory() as folder, chromium() as browser:
        page = Path(folder) / "preview.svg"
        page.write_text(_PREVIEW.format(points=drawn), encoding="utf-8")
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", PREVIEW_SIZE)
        browser.get(page.as_uri())
        picture = browser.execute_cdp_cmd("Page.captureScreenshot", {"format": "png"})
    return base64.b64decode(picture["data"])


def main() -> None:
    """Write both pictures."""
    (STATIC / "front.svg").write_text(front(), encoding="utf-8")
    (STATIC / "preview.png").write_bytes(preview())
    print("→ book/_static/front.svg, book/_static/preview.png")


if __name__ == "__main__":
    run(main)
