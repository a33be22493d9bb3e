"""mmlib beside other packages, timed: run as ``python -m benchmarks.run``; see README.md."""
