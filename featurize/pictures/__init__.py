"""Which pictures there are, and the views that are made of each."""
