"""What `make` and `python -m alutils` call."""
