"""Choices made on held-out images before any kept run."""
