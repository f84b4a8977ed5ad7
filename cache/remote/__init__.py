"""Object storage, through fsspec and its drivers: photographs are read from it, shards are copied to it and back."""
