"""The files whose tests have to notice, by the names that the tables use."""

from __future__ import annotations

TABLE = "tests/rollover/test_table.py"
ACCEPTANCE = "tests/rollover/test_acceptance.py"
REVOKING = "tests/rollover/test_revoking.py"
CLOCKS = "tests/rollover/test_clocks.py"
VERDICTS = "tests/rollover/test_verdicts.py"
HARD_TIMES = "tests/rollover/test_hard_times.py"
SCENARIOS = "tests/rollover/test_scenarios.py"
RANDOM = "tests/rollover/test_random_series.py"
RHYTHM = f"{RANDOM}::test_requests_follow_the_rhythm"

MACHINE = "tests/rollover/test_machine.py::TestRollovers::runTest"
MACHINE_WITH_STORE = "tests/rollover/test_machine.py::TestRolloversWithStore::runTest"

CLIENT = "tests/contract/test_client.py"
STORES = "tests/faults/test_store.py"
ORDER = "tests/contract/test_client_order.py"

DEADLINE = "tests/integration/test_fetching_deadline.py"
RUNTIME = "tests/faults/test_runtime.py"
FETCHING = "tests/integration/test_fetching.py"
OVER_HTTP = "tests/integration/test_client_http.py"
LAYERS = "tests/test_layering.py"

ATTACKS = "tests/unit/test_attack_classes.py"
DISCOVERY = "tests/unit/test_discovery.py"
FILTERS = "tests/unit/test_key_filters.py::test_a_key_serves_what_its_entry_allows_and_nothing_else"
KEY_SET = "tests/unit/test_key_set.py"
READING = "tests/unit/test_reading.py"
ROUTER = "tests/unit/test_router.py"
VALIDATOR = "tests/unit/test_validator.py"
