"""What the model says about the pool, and which of it to label next."""
