"""The dense network on feature rows, and its curves for TensorBoard."""
