"""A page to label photographs on: what the model thinks of all pictures beside the few labels that a person gives."""
