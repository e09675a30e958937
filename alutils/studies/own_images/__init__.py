"""Notebook 10: a user's own labelled folder."""
