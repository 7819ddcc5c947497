"""Where the fuzzing engine can be installed: the platforms that atheris has wheels for.

Run by the Makefile before there is an environment, so it imports the standard library alone. It prints what stands in the way and ends
with 0; where nothing does it prints nothing and ends with 1.
"""

from __future__ import annotations

import platform
import sys

NEWEST = (3, 14)
"""The newest Python that has a wheel."""


def obstacle(version: tuple[int, int], system: str, machine: str, libc: str) -> str | None:
    """Return why there is no wheel, or None where there is one.

    Args:
        version: Major and minor version of Python.
        system: `sys.platform`.
        machine: `platform.machine()`.
        libc: Name of the C library, as `platform.libc_ver()` tells it.
    """
    if version > NEWEST:
        return f"atheris has wheels up to Python {NEWEST[0]}.{NEWEST[1]}, and this is {version[0]}.{version[1]}"
    if (system, machine, libc) != ("linux", "x86_64", "glibc"):
        return f"atheris has wheels for Linux with glibc on x86_64, and this is {system}{f' with {libc}' if libc else ''} on {machine}"
    return None


def here() -> str | None:
    """Return why there is no wheel for this interpreter, or None."""
    return obstacle(sys.version_info[:2], sys.platform, platform.machine(), platform.libc_ver()[0])


if __name__ == "__main__":
    found = here()
    if found is None:
        sys.exit(1)
    print(found)
