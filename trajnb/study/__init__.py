"""The grid of runs of one params file: read, expanded, executed, reported."""
