"""Labelling images by hand: what to ask next, what was answered, and how good the head is."""
