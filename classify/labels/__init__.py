"""Which picture has which label and group: folders, names, tables, times; the split that the data bring."""
