"""The likelihood of a design: cross-products, their factor, the objective, and its minimum."""
