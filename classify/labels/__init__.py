"""Which picture has which label: folders, file names, tables, and the split that the data bring."""
