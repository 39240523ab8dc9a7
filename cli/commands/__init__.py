"""One module for each command; no rendering and no planning of its own."""
