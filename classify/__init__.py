"""Labels and feature rows -> a head, its scores and a saved model."""
