"""Draw the picture that messengers show beside a link to the book, from `tools/preview.svg`.

    python tools/make_preview.py

The picture, `book/_static/preview.png`, is committed: messengers do not show SVG.
"""

from __future__ import annotations

import base64
import sys
from pathlib import Path

from chromium import chromium

SOURCE = Path(__file__).resolve().parent / "preview.svg"
TARGET = SOURCE.parent.parent / "book" / "_static" / "preview.png"
SIZE = {"width": 1200, "height": 630, "deviceScaleFactor": 1, "mobile": False}


def draw(source: Path = SOURCE) -> bytes:
    """Return the drawing as PNG."""
    with chromium() as browser:
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", SIZE)
        browser.get(source.as_uri())
        picture = browser.execute_cdp_cmd("Page.captureScreenshot", {"format": "png"})
    return base64.b64decode(picture["data"])


def main() -> int:
    """Write the picture; return the exit status."""
    try:
        TARGET.write_bytes(draw())
    except RuntimeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"→ {TARGET.relative_to(SOURCE.parent.parent).as_posix()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
