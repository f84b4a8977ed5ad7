"""Files on disk: written whole or not at all, locked, opened only if they are plain files."""
