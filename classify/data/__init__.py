"""Labels and feature rows -> one dataset: near-duplicates, splits, views."""
