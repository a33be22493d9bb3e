"""From a formula and a table to arrays: y, X, and the random terms."""
