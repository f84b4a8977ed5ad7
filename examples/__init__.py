"""Five tutorials' jobs, each one command: see README.md in this folder."""
