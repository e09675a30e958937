"""The code of a reproducible study of deep active learning."""

__version__ = "1.0.0"
