"""Heads on cached specs beside each other in the same folds, and tables of held-out answers beside each other."""
