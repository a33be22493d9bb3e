"""The chapters as homework: to solve, solved, and to grade."""
