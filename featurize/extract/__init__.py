"""One run: digests -> missing rows -> decode -> forward pass -> commit."""
