"""Commands on a whole cache: list, verify, explain, collect garbage, export."""
