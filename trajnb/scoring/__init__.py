"""Calls in, numbers out: scores of calls, continual-learning figures, intervals. Never imports
torch.
"""
