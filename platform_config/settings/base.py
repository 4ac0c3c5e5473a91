"""Settings shared by every way of running Lyceum. The table of variables is in docs/operations/configuration.md."""

from datetime import timedelta
from pathlib import Path

from platform_config import env

BASE_DIR = Path(__file__).resolve().parents[2]
DATA_DIR = Path(env.text("DATA_DIR", str(BASE_DIR / ".data"))).resolve()
SECRET_KEY = env.text("SECRET_KEY")
SECRET_KEY_FALLBACKS = env.words("SECRET_KEY_FALLBACKS")
DEBUG = False

# Hosts. Which hosts exist is decided by the Domain table (shared_apps.tenants.middleware), not by a list here.
PLATFORM_DOMAIN = env.domain("PLATFORM_DOMAIN", "localhost")
PORT = env.integer("PORT", 8000, least=1)
REALTIME_PORT = env.integer("REALTIME_PORT", PORT + 1, least=1)
ALLOWED_HOSTS = ["*"]
TRUSTED_PROXIES = env.networks("TRUSTED_PROXIES")

# Apps. The two lists are disjoint (a system check): no table stands in both places.
SHARED_APPS = [
    "django.contrib.contenttypes",
    "django.contrib.staticfiles",
    "django_tenants",
    "django_celery_beat",
    "django_prometheus",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "channels",
    "shared_apps.core",
    "shared_apps.tenants",
    "tasks",
]
TENANT_APPS = [
    "django.contrib.auth",
    "guardian",
    "tenant_apps.audit",
    "tenant_apps.eventlog",
    "tenant_apps.accounts",
    "tenant_apps.files",
    "tenant_apps.communication",
    "tenant_apps.school",
    "tenant_apps.academics",
    "tenant_apps.interop",
    "tenant_apps.reports",
]
INSTALLED_APPS = [*SHARED_APPS, *TENANT_APPS]
TENANT_MODEL = "tenants.Tenant"
TENANT_DOMAIN_MODEL = "tenants.Domain"
TENANT_SYNC_ROUTER = "shared_apps.core.routing.ContextRouter"
DATABASE_ROUTERS = [TENANT_SYNC_ROUTER]

ROOT_URLCONF = "platform_config.urls_public"
URLCONF_BY_KIND = {
    "public": "platform_config.urls_public",
    "institution": "platform_config.urls_tenant",
    "operator": "platform_config.urls_console",
}
WSGI_APPLICATION = "platform_config.wsgi.application"
ASGI_APPLICATION = "platform_config.asgi.application"
APPEND_SLASH = False

# No sessions, CSRF or auth middleware: every request is signed in by its token or cookie in accounts.authentication.
MIDDLEWARE = [
    "django_prometheus.middleware.PrometheusBeforeMiddleware",
    "shared_apps.core.middleware.RequestMiddleware",
    "shared_apps.tenants.middleware.HostMiddleware",
    "django_prometheus.middleware.PrometheusAfterMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "platform_config" / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {"context_processors": ["django.template.context_processors.request"]},
    }
]

# Data. Two roles: the serving one (DML) and the owner (DDL: migrations and provisioning only).
DATABASE_OWNER = env.database("DATABASE_URL")
_serving = env.text("DATABASE_APP_URL", " ").strip()
DATABASE_APP_DERIVED = not _serving
if _serving:
    _default = env.database("DATABASE_APP_URL")
else:
    from shared_apps.core.roles import derived_role

    _default = {**DATABASE_OWNER, **derived_role(DATABASE_OWNER["NAME"], SECRET_KEY)}
_pool_mode = env.choice("DATABASE_POOL_MODE", "SESSION", ("SESSION", "TRANSACTION"))
DATABASES = {
    "default": {
        **_default,
        "ENGINE": "shared_apps.core.engine",
        # Neither a failover's old server nor what a backend remembers stays for ever (also: core.engine).
        "CONN_MAX_AGE": env.integer("DATABASE_CONNECTION_LIFE", 600),
        "ATOMIC_REQUESTS": False,
        # Of a pooler in front of the serving role's address: TRANSACTION costs two more round trips a statement.
        "POOL_MODE": _pool_mode,
        "DISABLE_SERVER_SIDE_CURSORS": _pool_mode == "TRANSACTION",
    }
}
SERVING_ROLE_IS_CHECKED = False  # production: a start with the owner's role, or a superuser, is refused
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
STATIC_URL = "/static/"
MEDIA_ROOT = DATA_DIR / "media"
# Backups are encrypted for these public keys (age1...); a restore needs an identity (AGE-SECRET-KEY-...).
_backup_dir = env.text("BACKUP_DIR", " ").strip()
BACKUP_DIR = Path(_backup_dir or DATA_DIR / "backups").resolve()
BACKUP_STORE = env.object_store(  # in place of the directory, which keeps the identity only
    "BACKUP_STORE",
    endpoint="BACKUP_STORE_ENDPOINT",
    region="BACKUP_STORE_REGION",
    key_id="BACKUP_STORE_KEY_ID",
    secret="BACKUP_STORE_SECRET",
)
BACKUP_RECIPIENTS = env.words("BACKUP_RECIPIENTS")
BACKUP_IDENTITY = env.text("BACKUP_IDENTITY", " ").strip()
BACKUP_EVERY = timedelta(hours=env.integer("BACKUP_EVERY_HOURS", 24, least=1))
# By the clock only where somebody has said where to, and for whose key: a backup beside its only key is none.
BACKUPS_SCHEDULED = bool((_backup_dir or BACKUP_STORE) and (BACKUP_RECIPIENTS or BACKUP_IDENTITY))

REDIS_URL = env.redis("REDIS_URL")
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": REDIS_URL,
        "KEY_FUNCTION": "shared_apps.core.caching.institution_key",
    }
}
CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
        "CONFIG": {"hosts": [REDIS_URL], "prefix": f"lyceum:{_default['NAME']}"},
    }
}

# People and their passwords
AUTH_USER_MODEL = "accounts.User"
AUTHENTICATION_BACKENDS = [
    "django.contrib.auth.backends.ModelBackend",
    "guardian.backends.ObjectPermissionBackend",
]
ANONYMOUS_USER_NAME = None
PASSWORD_HASHERS = ["django.contrib.auth.hashers.Argon2PasswordHasher"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 10}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
REFUSED_PASSWORDS: frozenset[str] = frozenset()
ACCESS_TOKEN_SECONDS = env.integer("ACCESS_TOKEN_SECONDS", 900, least=30)
SESSION_DAYS = env.integer("SESSION_DAYS", 30, least=1)

# Letters. Without a mail server nothing is sent, signing up is closed, and nobody gets a new password by letter.
EMAIL = env.mail("EMAIL_URL")
LETTERS_GO_OUT = bool(EMAIL)
EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
EMAIL_HOST, EMAIL_PORT = EMAIL.get("host", ""), EMAIL.get("port", 0)
EMAIL_HOST_USER, EMAIL_HOST_PASSWORD = EMAIL.get("user", ""), EMAIL.get("password", "")
EMAIL_USE_SSL, EMAIL_USE_TLS = EMAIL.get("ssl", False), EMAIL.get("starttls", False)
EMAIL_TIMEOUT = 15  # seconds
ADDRESS = "https://{host}"  # of a host as letters write it
DEFAULT_FROM_EMAIL = env.text("EMAIL_FROM", f"no-reply@{PLATFORM_DOMAIN}")

RATE_LIMIT_USER = env.rate("RATE_LIMIT_USER", "1000/hour")
RATE_LIMIT_ANON = env.rate("RATE_LIMIT_ANON", "100/hour")
DATA_UPLOAD_MAX_MEMORY_SIZE = 2 * 1024 * 1024
ROSTER_UPLOAD_MAX_BYTES = env.integer("ROSTER_UPLOAD_MAX_BYTES", 64 * 1024 * 1024, least=1024)
FILE_UPLOAD_PERMISSIONS = 0o600

# The log of changes: where the heads of its chains are kept, outside of the database, and for how long it says what.
AUDIT_ANCHORS = Path(env.text("AUDIT_ANCHORS", str(DATA_DIR / "anchors"))).resolve()
AUDIT_RETENTION_YEARS = env.integer("AUDIT_RETENTION_YEARS", 10, least=1)
FILES_SENT_BY_PROXY = env.flag("FILES_SENT_BY_PROXY", False)
# A folder of fonts for scripts that typst brings none for (Chinese, Japanese, Korean, Thai).
REPORT_FONTS = env.folder("REPORT_FONTS")
TABLE_UPLOAD_MAX_BYTES = env.integer("TABLE_UPLOAD_MAX_BYTES", 32 * 1024 * 1024, least=1024)

# API
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["tenant_apps.accounts.authentication.PlatformAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["shared_apps.core.api.permissions.Declared"],
    "DEFAULT_RENDERER_CLASSES": ["shared_apps.core.api.rendering.JsonRenderer"],
    "DEFAULT_PARSER_CLASSES": ["shared_apps.core.api.rendering.JsonParser"],
    "URL_FORMAT_OVERRIDE": None,
    "DEFAULT_SCHEMA_CLASS": "shared_apps.core.api.schema.Schema",
    "EXCEPTION_HANDLER": "shared_apps.core.problems.exception_handler",
    "UNAUTHENTICATED_USER": None,
    "TEST_REQUEST_DEFAULT_FORMAT": "json",
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Lyceum",
    "DESCRIPTION": (
        "The platform on which schools run. This document describes one host: an institution's own, or the operators'."
        "\n\n**Sign in** with `POST /api/v1/auth/token/` and send `Authorization: Bearer <access>`; a token opens the"
        " institution that issued it and no other."
        "\n\n**Lists** answer `{next, previous, results}`; follow `next` as it is. `?count=true` adds a count."
        " A parameter that an address does not know is refused, never ignored."
        "\n\n**Refusals** are `application/problem+json` (RFC 9457): `detail` says what to mend, `errors` where."
    ),
    "VERSION": "1",
    "OAS_VERSION": "3.1.0",
    "SERVE_INCLUDE_SCHEMA": False,
    "SCHEMA_PATH_PREFIX": r"/api/v1",
    "COMPONENT_SPLIT_REQUEST": True,
    # Without the hook that gives enums names of their own: two rooms' `state` would share one.
    "POSTPROCESSING_HOOKS": ["shared_apps.core.api.schema.add_problems"],
}

# Celery. `visibility_timeout` must exceed the longest task; the three places that need it read this one number.
LONGEST_TASK_SECONDS = 2 * 3600

USE_TZ = True
TIME_ZONE = "UTC"
LANGUAGE_CODE = "en"
LOGGING_CONFIG = None
LOG_LEVEL = env.choice("LOG_LEVEL", "INFO", ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"))
SILENCED_SYSTEM_CHECKS: list[str] = []
