"""Data, network, training and scoring."""
