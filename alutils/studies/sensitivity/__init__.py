"""Notebook 06: what the settings of the arms are worth."""
