"""trajnb: does the tool-use trajectory in the training prompt help a model learn a stream of API domains?"""

__version__ = "0.1.0"
