"""A user's own images: a folder or table of images, scanned once, as a dataset."""
