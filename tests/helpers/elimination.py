"""Small designs that are eliminated as large ones are."""

from mmlib.engine import elimination


def take_all_in_rounds(monkeypatch):
    """Let no level be left to the dense tail, however few there are and whatever they meet."""
    monkeypatch.setattr(elimination, "FEW", 0)
    monkeypatch.setattr(elimination, "MAX_SHARE", 2.0)
    monkeypatch.setattr(elimination, "ENOUGH", 0.0)
    monkeypatch.setattr(elimination, "CROWDED", 1e6)
