"""Notebook 09: an encoder's frozen features."""
