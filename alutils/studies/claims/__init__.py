"""Notebook 04: the poster's claims."""
