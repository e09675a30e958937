"""Notebook 01: accuracy against training-set size."""
