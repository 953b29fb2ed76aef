"""Django settings: wiring only. What an administrator may change lives in the settings registry, not here."""

import os
from datetime import timedelta

from xmppd import bootstrap

CONFIG = bootstrap.load()
BASE_DIR = bootstrap.ROOT

SECRET_KEY = bootstrap.secret_key(CONFIG)
DEBUG = os.environ.get("HEARTH_DEBUG") == "1"
# The hosts that may be asked for change live (wizard, settings), so adminconsole.middleware.HostGuard decides before
# anything else runs; Django's own static list stays out of the way.
ALLOWED_HOSTS = ["*"]

INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "channels",
    "django_htmx",
    "accounts",
    "xmppd",
    "adminconsole",
]

MIDDLEWARE = [
    "adminconsole.middleware.SecurityHeaders",
    "adminconsole.middleware.HostGuard",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "adminconsole.middleware.SetupGate",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "adminconsole.middleware.LoginRequired",
    "adminconsole.middleware.ConsoleAccess",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
]

ROOT_URLCONF = "xmppd.urls"
ASGI_APPLICATION = "xmppd.asgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.template.context_processors.i18n",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "adminconsole.context.console",
            ],
        },
    },
]
# Templates are read once; `serve --debug` (and tests of templates) read them each time.
if DEBUG:
    TEMPLATES[0]["OPTIONS"]["loaders"] = [  # type: ignore[index]
        "django.template.loaders.filesystem.Loader",
        "django.template.loaders.app_directories.Loader",
    ]
    TEMPLATES[0]["APP_DIRS"] = False

DATABASES = {"default": bootstrap.database_config(CONFIG.database_url, CONFIG.home)}

AUTH_USER_MODEL = "accounts.User"
AUTHENTICATION_BACKENDS = ["accounts.backends.AccountBackend"]
PASSWORD_HASHERS = ["accounts.credentials.ScramPasswordHasher"]
LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "dashboard"
SILENCED_SYSTEM_CHECKS = [
    "auth.W004",  # user names are unique per domain; AccountBackend looks them up by both
    "models.W036",  # constraints with a condition, which MySQL does not know: the services check the same
]

SESSION_COOKIE_NAME = "hearth_session"
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_AGE = int(timedelta(hours=12).total_seconds())
CSRF_COOKIE_NAME = "hearth_csrf"
CSRF_COOKIE_HTTPONLY = True
CSRF_COOKIE_SAMESITE = "Lax"
CSRF_FAILURE_VIEW = "adminconsole.views.errors.csrf_failure"
MESSAGE_STORAGE = "django.contrib.messages.storage.cookie.CookieStorage"
X_FRAME_OPTIONS = "DENY"
SECURE_CONTENT_TYPE_NOSNIFF = True
DATA_UPLOAD_MAX_MEMORY_SIZE = 4 * 1024 * 1024
FILE_UPLOAD_MAX_MEMORY_SIZE = 6 * 1024 * 1024  # files of users hold passwords: never in the system's own /tmp

LANGUAGE_CODE = "en"
LANGUAGES = [("en", "English"), ("zh-hans", "简体中文")]  # each names itself
FORMAT_MODULE_PATH = "adminconsole.dateformats"
LANGUAGE_COOKIE_NAME = "hearth_language"
LANGUAGE_COOKIE_SAMESITE = "Lax"
LOCALE_PATHS = [BASE_DIR / "adminconsole" / "locale"]
USE_I18N = True
USE_TZ = True
TIME_ZONE = "UTC"

STATIC_URL = "/static/"
STATICFILES_DIRS = [BASE_DIR / "static"]
# Served straight from the source folders: collecting files is not a first-run step.
WHITENOISE_USE_FINDERS = True
WHITENOISE_AUTOREFRESH = DEBUG
WHITENOISE_MAX_AGE = 0 if DEBUG else 3600

if CONFIG.redis_url:
    CHANNEL_LAYERS = {
        "default": {
            "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
            "CONFIG": {"hosts": [CONFIG.redis_url]},
        }
    }
    CACHES = {
        "default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": CONFIG.redis_url}
    }
else:
    CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
    CACHES = {
        "default": {
            "BACKEND": "django.core.cache.backends.locmem.LocMemCache",
            "OPTIONS": {"MAX_ENTRIES": 100_000},  # type: ignore[dict-item]
        }
    }

# xmppd.logs configures logging in `serve`; commands and tests keep Python's defaults.
LOGGING_CONFIG = None
