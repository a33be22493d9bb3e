"""Fits in files: small, with a version, and safe to open."""

from mmlib.saved.files import load, save

__all__ = ["load", "save"]
