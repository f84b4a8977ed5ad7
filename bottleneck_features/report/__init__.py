"""A saved model and its pictures -> findings -> one HTML file."""
