"""11: labelling one's own images by hand."""
