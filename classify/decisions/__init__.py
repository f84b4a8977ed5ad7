"""Held-out answers -> what may be accepted without looking, and label sets that hold the truth."""
