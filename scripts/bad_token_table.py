"""Write the table of bad tokens into the reference of the testing kit: `python scripts/bad_token_table.py`."""

from __future__ import annotations

from pathlib import Path

from keyturn.testing.attacks.catalogue import CASES, ELSEWHERE

PAGE = Path(__file__).parent.parent / "docs" / "reference" / "testing.md"
BEGIN, END = "<!-- bad tokens -->\n", "<!-- end of bad tokens -->\n"


def table() -> str:
    """Return the tables: every bad token, and the classes of attacks that are tested elsewhere."""
    rows = ["| name | what is wrong | error | everybody | entry | class |", "|---|---|---|---|---|---|"]
    rows += [
        f"| `{case.name}` | {case.why} | `{case.error.__name__}` | {'yes' if case.universal else ''} | {'yes' if case.needs_entry else ''}"
        f" | {', '.join(case.classes)} |"
        for case in CASES
    ]
    rows += ["", "Classes that one token against one issuer cannot carry:", "", "| class | where it is tested |", "|---|---|"]
    rows += [f"| {name} | {where} |" for name, where in ELSEWHERE.items()]
    return "\n".join(rows) + "\n"


def main() -> None:
    """Put the tables between their marks."""
    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n{table()}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
