"""Settings of the stock peer; DATABASE_URL and REDIS_URL come from the environment."""

import os
from datetime import timedelta

from psycopg.conninfo import conninfo_to_dict

_database = {name: str(value) for name, value in conninfo_to_dict(os.environ["DATABASE_URL"]).items()}

SECRET_KEY = "stock-peer-of-the-bench-never-served-to-anybody"
DEBUG = False
ALLOWED_HOSTS = ["*"]
USE_TZ = True
TIME_ZONE = "UTC"
ROOT_URLCONF = "tests.bench.stock.school.api"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# As the documentation of django-tenants lays them out: auth and contenttypes both shared and per tenant.
_DJANGO = [f"django.contrib.{app}" for app in ("contenttypes", "auth", "sessions", "messages")]
SHARED_APPS = ["django_tenants", "tests.bench.stock.customers", *_DJANGO, "django_filters", "rest_framework"]
TENANT_APPS = [*_DJANGO, "tests.bench.stock.school"]
INSTALLED_APPS = [*SHARED_APPS, "tests.bench.stock.school"]
TENANT_MODEL = "customers.Client"
TENANT_DOMAIN_MODEL = "customers.Domain"
DATABASE_ROUTERS = ["django_tenants.routers.TenantSyncRouter"]
DATABASES = {
    "default": {
        "ENGINE": "django_tenants.postgresql_backend",
        "NAME": _database.get("dbname", ""),
        "USER": _database.get("user", ""),
        "PASSWORD": _database.get("password", ""),
        "HOST": _database.get("host", ""),
        "PORT": _database.get("port", ""),
        "CONN_MAX_AGE": 60,
    }
}
_REDIS = "django.core.cache.backends.redis.RedisCache"
CACHES = {"default": {"BACKEND": _REDIS, "LOCATION": os.environ["REDIS_URL"], "KEY_PREFIX": "stock"}}

MIDDLEWARE = [
    "django_tenants.middleware.main.TenantMainMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["rest_framework_simplejwt.authentication.JWTAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_FILTER_BACKENDS": [
        "django_filters.rest_framework.DjangoFilterBackend",
        "rest_framework.filters.SearchFilter",
        "rest_framework.filters.OrderingFilter",
    ],
    "DEFAULT_PAGINATION_CLASS": "rest_framework.pagination.PageNumberPagination",
    "PAGE_SIZE": 50,
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_THROTTLE_CLASSES": ["rest_framework.throttling.UserRateThrottle"],
    # Never refuses. DRF keeps the time of every request within the window in one cache value; a window of a second
    # keeps that list short (hundreds), where an unlimited hour would let it grow and slow the peer down unfairly.
    "DEFAULT_THROTTLE_RATES": {"user": "1000000/second"},
}
SIMPLE_JWT = {"ACCESS_TOKEN_LIFETIME": timedelta(hours=1)}  # the whole run
# The one log line a request is gunicorn's access log (tests/bench/servers.py).
