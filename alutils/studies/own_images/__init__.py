"""10: a labelled folder of one's own."""
