"""The code of a reproducible study of deep active learning."""

__version__ = "0.1.0"
