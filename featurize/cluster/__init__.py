"""Features by many processes and machines: joblib hands out the tasks, workers commit shards of their own."""
