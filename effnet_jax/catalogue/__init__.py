"""One's own photos as an index that a sketch searches: build, open, search, export."""
