"""Which pictures there are, when they were taken, and the views that are made of each."""
