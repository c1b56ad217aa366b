"""Calls in, numbers out: scores of single calls, continual-learning figures, intervals. Never imports torch."""
