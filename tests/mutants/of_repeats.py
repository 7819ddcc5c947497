"""Faults in what is remembered: the compiled reader's proof, headers, and tokens that were accepted before (R9, R10, R11, R15)."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

CACHE, JSON = "_token_cache.py", "_core/strict_json.py"
REPEATS, DECODERS = "tests/rollover/test_token_cache.py", "tests/unit/test_both_decoders.py"

OF_REPEATS = (
    Mutant(
        number="M57",
        file=CACHE,
        before="        if found is None or not found.start <= self._wall() < found.end or not self._serves(found):\n",
        after="        if found is None or not self._serves(found):\n",
        rule="a remembered token outlives its exp",
        tests=(f"{REPEATS}::test_expiry_ends_it_to_the_instant",),
    ),
    Mutant(
        number="M58",
        file=CACHE,
        before="        if found is None or not found.start <= self._wall() < found.end or not self._serves(found):\n",
        after="        if found is None or not found.start <= self._wall() < found.end:\n",
        rule="a remembered token outlives its key (R9, R10, R11)",
        tests=(f"{REPEATS}::test_a_revoked_key_is_refused_at_once", f"{REPEATS}::test_a_removed_key_ends_with_its_grace"),
    ),
    Mutant(
        number="M59",
        file=CACHE,
        before="        if found.memory is not memory or keeper.is_due():\n",
        after="        if found.memory is not memory:\n",
        rule="nothing but hits keeps a set for ever (R3, R9)",
        tests=(f"{REPEATS}::test_hits_alone_keep_the_schedule", f"{REPEATS}::test_hits_alone_through_an_outage_end_with_the_set"),
    ),
    Mutant(
        number="M60",
        file=CACHE,
        before='    return sha256(token.encode("ascii")).digest()\n',
        after='    return sha256(token.rpartition(".")[0].encode("ascii")).digest()\n',
        rule="a token is remembered without its signature",
        tests=(f"{REPEATS}::test_another_token_is_another_one",),
    ),
    Mutant(
        number="M61",
        file=JSON,
        before="        proven = type(value) is dict and compiled.write(value) == data\n",
        after="        proven = type(value) is dict\n",
        rule="the compiled reader is believed without a proof",
        tests=(f"{DECODERS}::test_what_cannot_be_proven_is_left_to_the_strict_parser", f"{DECODERS}::test_the_catalogue_meets_the_same_verdict"),
    ),
    Mutant(
        number="M62",
        file=JSON,
        before="    if _BACKSLASH in data or _may_be_deep(data):\n",
        after="    if _BACKSLASH in data:\n",
        rule="the compiled reader is given any depth",
        tests=(f"{DECODERS}::test_odd_texts_are_read_alike",),
    ),
    Mutant(
        number="M63",
        file=CACHE,
        before="        if found.memory is not memory or keeper.is_due():\n",
        after="        if keeper.is_due():\n",
        rule="a remembered token is served in a generation that was not looked at (R11)",
        tests=(f"{REPEATS}::test_a_revoked_key_is_refused_after_another_token_was_served",),
    ),
)
