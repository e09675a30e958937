"""What is studied: cells, arms, datasets, parameters; nothing here imports torch or pandas."""
