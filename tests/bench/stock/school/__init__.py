"""Students of the stock peer (every tenant's schema)."""
