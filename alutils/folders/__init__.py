"""Images of a person's own: what lies in a folder or a table, looked at once, as a dataset."""
