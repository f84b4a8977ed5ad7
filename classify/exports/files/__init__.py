"""Exported files, a format each: how a graph becomes one, and how it is run in its own runtime."""
