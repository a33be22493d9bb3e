"""The site: built, repaired, checked, and printed."""
