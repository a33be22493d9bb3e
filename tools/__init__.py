"""What makes the book: one room for each thing that is made.

Run a module as ``python -m tools.site.build``, from the project's folder.
"""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
"""The project's folder."""
