"""The vocabulary, the exchange and the faces of the multi-cluster federation gateway."""

__version__ = "0.1.0"
