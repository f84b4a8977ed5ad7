"""Features by several processes and machines."""
