"""Notebooks 02, 03 and 05: arms against random labels."""
