"""Where in a picture an answer comes from."""
