"""How requests come and answers go: bodies, problems, who may ask, connections."""
