"""Tests and intervals: where p-values are made."""
