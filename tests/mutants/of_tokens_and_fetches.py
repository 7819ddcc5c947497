"""Faults in what is read of tokens and documents, and in how they are fetched (R16), and in what the core may touch."""

from __future__ import annotations

from tests.mutants.mutant import Mutant
from tests.mutants.suites import ATTACKS, DEADLINE, DISCOVERY, FETCHING, LAYERS, OVER_HTTP

ROLLOVER, CLAIMS, FETCHER = "_core/rollover.py", "_core/claims.py", "fetching.py"
AT34 = f"{ATTACKS}::test_a_cold_validator_refuses_it[AT32, AT34]"


def _impure(letter: str, module: str) -> Mutant:
    return Mutant(
        number=f"M6{letter}",
        file=ROLLOVER,
        before="from typing import Literal\n",
        after=f"from typing import Literal; import {module}\n",
        rule=f"the core imports {module}",
        tests=(f"{LAYERS}::test_imports_run_one_way",),
    )


OF_TOKENS_AND_FETCHES = (
    *(_impure(letter, module) for letter, module in zip("abcd", ("time", "socket", "threading", "logging"), strict=True)),
    Mutant(
        number="M46a",
        file="_connection.py",
        before="threading.Timer(self.deadline.left(), self._cut)",
        after="threading.Timer(3_600, self._cut)",
        rule="a deadline for each read (R16)",
        tests=(f"{DEADLINE}::test_pieces_that_come_in_time_are_cut_at_the_deadline",),
    ),
    Mutant(
        number="M46b",
        file="_reading.py",
        before="    left = deadline.left()\n",
        after="    left = policy.deadline\n",
        rule="a deadline for each request (R16)",
        tests=(f"{DEADLINE}::test_second_document_gets_what_the_first_has_left",),
    ),
    Mutant(
        number="M47a",
        file="_core/answer.py",
        before='    if not {part.strip().lower() for part in encoding.split(",")} <= {"", "identity"}:\n',
        after="    if False:\n",
        rule="compressed bodies are taken, and counted as they come (R16)",
        tests=(f"{OVER_HTTP}::TestBadAnswers::test_answer_changes_nothing",),
    ),
    Mutant(
        number="M47b",
        file=FETCHER,
        before="        if len(body) > max_bytes:\n",
        after="        if len(body) >= max_bytes:\n",
        rule="the longest body refused (R16, B10)",
        tests=(f"{FETCHING}::test_byte_cap",),
    ),
    Mutant(
        number="M47c",
        file="_core/answer.py",
        before="int(declared) > max_bytes",
        after="int(declared) >= max_bytes",
        rule="the longest declared body refused (R16, B10)",
        tests=(f"{FETCHING}::test_byte_cap",),
    ),
    Mutant(
        number="M48",
        file=FETCHER,
        before="follow_redirects=False",
        after="follow_redirects=True",
        rule="a redirect followed (R16)",
        tests=(f"{FETCHING}::test_redirects_are_not_followed",),
    ),
    Mutant(
        number="M52a",
        file=CLAIMS,
        before="    if isinstance(issuer, str) and issuer in issuers:\n",
        after='    if isinstance(issuer, str) and issuer.removesuffix("/") in {name.removesuffix("/") for name in issuers}:\n',
        rule="a token's issuer compared without its final slash",
        tests=(AT34,),
    ),
    Mutant(
        number="M52b",
        file=CLAIMS,
        before="    if isinstance(issuer, str) and issuer in issuers:\n",
        after="    if isinstance(issuer, str) and issuer.startswith(tuple(issuers)):\n",
        rule="a token's issuer compared by prefix",
        tests=(AT34,),
    ),
    Mutant(
        number="M52c",
        file="_core/discovery.py",
        before="        if not isinstance(issuer, str) or issuer not in issuers:\n",
        after='        if not isinstance(issuer, str) or issuer.removesuffix("/") not in {name.removesuffix("/") for name in issuers}:\n',
        rule="a document's issuer compared without its final slash",
        tests=(f"{DISCOVERY}::test_of_another_issuers_document_nothing_is_used",),
    ),
    Mutant(
        number="M52d",
        file="_core/discovery.py",
        before="        if not isinstance(issuer, str) or issuer not in issuers:\n",
        after="        if not isinstance(issuer, str) or not issuer.startswith(tuple(issuers)):\n",
        rule="a document's issuer compared by prefix",
        tests=(f"{DISCOVERY}::test_of_another_issuers_document_nothing_is_used",),
    ),
)
