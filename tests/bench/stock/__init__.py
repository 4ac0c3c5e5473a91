"""The stock peer: what a competent team builds from the documentation of django-tenants, DRF and simplejwt.

It has the same rows and columns as ours and gives the same guarantees the stock way: tenant by host, JWT, a permission
read from the database, a throttle in Redis, filters, search, ordering, one log line a request. Nothing is slowed down
on purpose, and nothing is tuned beyond what those documentations recommend.
"""
