"""Django's settings are made before any test module imports what needs them."""

from __future__ import annotations

import tests.web.wsgi.django_project  # noqa: F401
