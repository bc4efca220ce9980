"""Faults planted in the package, one at a time, to see whether the tests notice: ``make mutants``, and what it found in RESULTS.md."""
