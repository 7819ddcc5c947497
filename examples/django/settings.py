"""Settings of the project; what concerns keyturn stands at the end."""

from __future__ import annotations

ALLOWED_HOSTS = ["127.0.0.1", "localhost"]
DATABASES: dict[str, object] = {}
INSTALLED_APPS = ["django.contrib.auth", "django.contrib.contenttypes", "rest_framework"]
ROOT_URLCONF = "examples.django.urls"
SECRET_KEY = "made up for an example"  # noqa: S105 - nothing is signed with it
USE_TZ = True

KEYTURN_GUARD = "examples.django.auth.guard"
KEYTURN_USER_FROM_TOKEN = "examples.django.auth.customer"  # noqa: S105 - a name
MIDDLEWARE = ["django.middleware.csrf.CsrfViewMiddleware", "keyturn.integrations.django.BearerMiddleware"]
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["keyturn.integrations.drf.BearerAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["keyturn.integrations.drf.Requires"],
    "EXCEPTION_HANDLER": "keyturn.integrations.drf.exception_handler",
}
