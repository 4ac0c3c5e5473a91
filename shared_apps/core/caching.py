"""Cache keys carry the institution, so that one school's cached value is never another's."""

from django.core.cache.backends.base import InvalidCacheKey

from shared_apps.core.context import InstitutionContext, current


def institution_key(key: str, key_prefix: str, version: int) -> str:
    """KEY_FUNCTION of the cache. Raises InvalidCacheKey outside of any context."""
    context = current()
    if context is None:
        raise InvalidCacheKey(f"The cache key {key!r} was used outside of any context.")
    place = str(context.id) if isinstance(context, InstitutionContext) else "platform"
    return f"lyceum:cache:{place}:{version}:{key}"
