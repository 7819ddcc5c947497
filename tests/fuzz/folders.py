"""Where a run keeps its files: below `.fuzz`, which is not committed.

Rules of this file:

1. Seeds are written anew by every run. What a run finds worth keeping stays and is where the next one begins.
2. A find is a file of its own: `finds/<target>/<kind>-<digest>`.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Folders:
    """The folders of one target.

    Attributes:
        root: Where all targets' files are.
        target: Name of the target.
    """

    root: Path
    target: str

    @property
    def seeds(self) -> Path:
        """What to begin with."""
        return self.root / "seeds" / self.target

    @property
    def corpus(self) -> Path:
        """What reached something new."""
        return self.root / "corpus" / self.target

    @property
    def finds(self) -> Path:
        """What broke a promise."""
        return self.root / "finds" / self.target

    @property
    def words(self) -> Path:
        """The words of the target, as the engine reads them."""
        return self.root / f"{self.target}.words"

    def prepare(self, seeds: Iterable[bytes], words: Iterable[str]) -> None:
        """Make the folders, and write seeds and words. What was found before is a seed, so that it is found again unless it is mended."""
        before = [path.read_bytes() for path in self.found()] if self.finds.exists() else []
        for folder in (self.seeds, self.finds):
            shutil.rmtree(folder, ignore_errors=True)
        for folder in (self.seeds, self.corpus, self.finds):
            folder.mkdir(parents=True, exist_ok=True)
        for seed in (*seeds, *before):
            (self.seeds / _digest(seed)).write_bytes(seed)
        lines = ("".join(f"\\x{octet:02x}" for octet in word.encode("utf-8", "surrogatepass")) for word in words)
        self.words.write_text("".join(f'"{line}"\n' for line in lines if line), encoding="ascii")

    def inputs(self) -> list[Path]:
        """Return every seed and every input that reached something new."""
        return sorted(path for folder in (self.seeds, self.corpus) for path in folder.iterdir())

    def found(self) -> list[Path]:
        """Return the files of all finds."""
        return sorted(self.finds.iterdir())

    def keep(self, kind: str, data: bytes) -> Path:
        """Write a find; return its file."""
        path = self.finds / f"{kind}-{_digest(data)}"
        path.write_bytes(data)
        return path


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:40]
