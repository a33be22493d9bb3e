"""The chapters: run them, check what they say, and derive what they rest on."""
