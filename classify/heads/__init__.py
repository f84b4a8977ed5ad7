"""The heads: scikit-learn estimators on feature rows, each also as plain arrays."""
