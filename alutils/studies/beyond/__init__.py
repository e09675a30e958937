"""Notebook 07: strategies and recipes beyond the poster's."""
