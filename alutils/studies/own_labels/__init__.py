"""Notebook 11: labelling a user's own images by hand."""
