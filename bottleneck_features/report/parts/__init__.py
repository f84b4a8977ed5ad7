"""The parts of a report, one a file: each finds its own numbers."""
