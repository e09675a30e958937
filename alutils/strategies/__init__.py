"""The model's view of the pool, and the strategies that choose what to label next."""
