"""Which picture has which label, and is in which group: folders, names, tables; the split that the data bring."""
