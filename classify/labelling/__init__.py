"""From pictures without labels to a classifier: which pictures a person should label next."""
