"""trajnb: notebooks and a study runner for tool-use trajectories in continual learning."""

__version__ = "0.1.0"
