"""The files of cells, and the tidy table that is read from them."""
