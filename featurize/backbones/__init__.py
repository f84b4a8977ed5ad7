"""The networks: which there are, how each is built, where its weights come from."""
