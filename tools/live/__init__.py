"""What makes the pages run: Python for the browser, and the pages prepared for it."""
