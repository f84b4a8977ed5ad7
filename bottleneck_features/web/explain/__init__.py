"""Why a model says what it says of a picture in memory: heat maps, the nearest training pictures."""
