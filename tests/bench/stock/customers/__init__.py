"""Tenants of the stock peer (public schema)."""
