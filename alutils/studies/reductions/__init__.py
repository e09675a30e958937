"""Notebook 08: what the reductions are worth."""
