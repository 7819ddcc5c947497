"""Adapters for web frameworks, one small file each, over one shared answer.

Importing this package loads no framework: each adapter is a module of its own, such as `keyturn.integrations.fastapi`.
"""

from __future__ import annotations

from keyturn.integrations._bearer import NOTHING, Answer, AnyOf, Names, Needs, any_of
from keyturn.integrations._guard import BearerGuard, Judge

__all__ = ["NOTHING", "Answer", "AnyOf", "BearerGuard", "Judge", "Names", "Needs", "any_of"]
