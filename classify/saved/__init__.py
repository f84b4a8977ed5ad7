"""Models on disk: written, read and checked, opened to predict."""
