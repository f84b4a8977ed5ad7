"""What stands around the library: the command line, its terminal, the demo, the report."""
