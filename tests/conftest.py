"""What every test shares: how Hypothesis works, and pytest's own kit for plugins. Nothing here opens a socket or reads a clock."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# No deadline, since no test of ours depends on how fast the machine is; the printed blob repeats a failure elsewhere.
settings.register_profile("keyturn", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("keyturn")

pytest_plugins = ["pytester"]
