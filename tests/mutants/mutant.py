"""What a named mutant is: one line of the source put wrong, and the tests that must notice."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


class StaleMutantError(Exception):
    """The text that a mutant changes does not stand exactly once where the table says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """One fault.

    Attributes:
        number: Its name in the table; a letter tells several places or kinds of one fault apart.
        file: Path below `src/keyturn`.
        before: The text that is put wrong: one line or a part of it, with the lines around it that make it the only one.
        after: What stands there instead.
        rule: What it breaks, in a few words.
        tests: Node ids of the tests that must fail, each of them: one for every suite that has to notice.
    """

    number: str
    file: str
    before: str
    after: str
    rule: str
    tests: tuple[str, ...]

    def apply(self, package: Path) -> None:
        """Put the fault into a copy of the package.

        Args:
            package: The folder `keyturn` of the copy.

        Raises:
            StaleMutantError: The text is not there exactly once, or the fault changes nothing.
        """
        path = package / self.file
        text = path.read_text(encoding="utf-8") if path.is_file() else ""
        found = text.count(self.before)
        if found != 1 or self.before == self.after:
            raise StaleMutantError(f"{self.number}: expected its text once in {self.file}, found it {found} times (setting: tests/mutants)")
        path.write_text(text.replace(self.before, self.after), encoding="utf-8")
