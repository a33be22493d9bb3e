"""Compare figures drawn by different versions of matplotlib: the same words, the same lines.

Releases differ in margins and in the names of glyphs. What a figure says is in its words and in
where its lines and markers lie within the axes, so these are compared.
"""

import re
from dataclasses import dataclass
from xml.etree import ElementTree

import numpy as np
from scipy.spatial import cKDTree

_SVG = "{http://www.w3.org/2000/svg}"
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
_FURNITURE = re.compile(r"matplotlib\.axis|legend|text|patch")
# In widths of the axes: half a point, where a line may be drawn with fewer vertices.
NEAR = 1.5e-3
MANY = 10**7


@dataclass
class Drawing:
    """The words of a figure, and the lines and markers of each of its axes, between 0 and 1."""

    words: list[str]
    axes: list[list[np.ndarray]]


def read_drawing(svg: str) -> Drawing:
    """Read a figure that matplotlib drew."""
    root = ElementTree.fromstring(re.sub(r"<!DOCTYPE[^>]*>", "", svg))
    axes = [group for group in root.iter(f"{_SVG}g") if re.match(r"axes_\d+", group.get("id", ""))]
    return Drawing(re.findall(r"<!-- (.*?) -->", svg), [_lines(group) for group in axes])


def differences(one: Drawing, other: Drawing, near: float = NEAR) -> list[str]:
    """Say where two drawings differ; nothing, if they show the same."""
    found = [f"words: {a!r}, {b!r}" for a, b in zip(one.words, other.words, strict=False) if a != b]
    if len(one.words) != len(other.words):
        found.append(f"{len(one.words)} words, not {len(other.words)}")
    if [len(axes) for axes in one.axes] != [len(axes) for axes in other.axes]:
        return [*found, "other axes, or another number of lines"]
    for drawn, expected in zip(one.axes, other.axes, strict=True):
        # As a rule they are drawn in the same order; which others are the same, if any, is sought.
        apart = [(a, b) for a, b in zip(drawn, expected, strict=True) if _distance(a, b) > near]
        for lines, others in (([a for a, _ in apart], expected), ([b for _, b in apart], drawn)):
            gaps = [min(_distance(line, each) for each in others) for line in lines]
            found += [f"a line is {gap:.2g} away from any" for gap in gaps if gap > near]
    return found


def _lines(axes: ElementTree.Element) -> list[np.ndarray]:
    """Return the segments of each artist, in units of the axes' frame."""
    frame, *artists = (child for child in axes if child.tag == f"{_SVG}g")
    corners = _segments(frame).reshape(-1, 2)
    low, high = corners.min(axis=0), corners.max(axis=0)
    kept = [artist for artist in artists if not _FURNITURE.match(artist.get("id", ""))]
    lines = [(_segments(artist) - low) / (high - low) for artist in kept]
    return [line for line in lines if len(line)]


def _segments(group: ElementTree.Element) -> np.ndarray:
    """Return from where to where lines go; a marker goes from its place to its place."""
    defined = {id(e) for defs in group.iter(f"{_SVG}defs") for e in defs.iter()}
    places = [(float(e.get("x", 0)), float(e.get("y", 0))) for e in group.iter(f"{_SVG}use")]
    segments = [(place, place) for place in places]
    for path in group.iter(f"{_SVG}path"):
        for piece in re.findall(r"M[^M]*", path.get("d", "") if id(path) not in defined else ""):
            numbers = [float(number) for number in _NUMBER.findall(piece)]
            points = list(zip(numbers[::2], numbers[1::2], strict=True))
            segments += zip(points, [*points[1:], points[0 if "z" in piece else -1]], strict=True)
    return np.array(segments).reshape(-1, 2, 2)


def _distance(one: np.ndarray, other: np.ndarray) -> float:
    """How far a vertex of either line lies from the other line, or from its like."""
    if one.shape == other.shape and (apart := np.linalg.norm(one - other, axis=2).max()) < NEAR:
        return float(apart)
    return max(_gap(one, other), _gap(other, one))


def _gap(one: np.ndarray, other: np.ndarray) -> float:
    """How far the farthest vertex of a line lies from another line, within the frame."""
    points = one.reshape(-1, 2)
    points = points[np.all((points > -0.02) & (points < 1.02), axis=1)]
    if not len(points):
        return 0.0
    if len(points) * len(other) < MANY:
        beside = other[None]
    else:  # of thousands of short segments, those whose middles are nearest
        _, nearest = cKDTree(other.mean(axis=1)).query(points, k=16)
        beside = other[nearest]
    step = beside[:, :, 1] - beside[:, :, 0]
    length = np.maximum((step**2).sum(axis=2), 1e-300)
    ahead = points[:, None, :] - beside[:, :, 0]
    along = np.clip((ahead * step).sum(axis=2) / length, 0, 1)
    return float(np.sqrt(((ahead - along[..., None] * step) ** 2).sum(axis=2).min(axis=1).max()))
