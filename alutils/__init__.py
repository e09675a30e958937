"""The code of a reproducible study of deep active learning, in eight rooms."""

__version__ = "0.1.0"
