"""Use-cases: one verb, one file, one function that returns a report."""
