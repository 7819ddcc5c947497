"""Every target by name. One more is one more module with a `TARGET`, and its line here."""

from __future__ import annotations

from tests.fuzz import discovery, key_sets, metadata_documents, tokens
from tests.fuzz.target import Target

TARGETS: dict[str, Target] = {module.TARGET.name: module.TARGET for module in (tokens, key_sets, discovery, metadata_documents)}
