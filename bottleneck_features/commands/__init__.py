"""The command line over `pipeline` and `cache`."""
