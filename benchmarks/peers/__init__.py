"""How each Python package fits, refits and reports; one module for each, named after it.

A module has ``DISTRIBUTION``, ``frame(data)`` (the kind of table the package is quickest with),
``fit(task, frame)`` and ``objective(result)``; where the package can refit to another response
without reading formula and data again, also ``refit(task, frame, result)``, which returns a
function of the response. For each action of inference.py that the package offers, a function of
that name takes (task, frame), fits the model, and returns what is timed: a function that gives the
answer, a dict of numbers.
"""
