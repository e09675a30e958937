"""Labels that one network chose, trained on by another."""
