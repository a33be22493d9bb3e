"""What a fit says: estimates, random effects, predictions, influence, and how they are shown."""
