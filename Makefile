# The one face of every task. Each target sets up what it needs, below .venv and .venv-idp; uv is used where it is installed.

PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
VENV_IDP := .venv-idp
VENV_BENCH := .venv-bench
VENV_DRILL := .venv-drill
VENV_FUZZ := .venv-fuzz
VENV_MUTANTS := .venv-mutants
# Web frameworks need not resolve together: each family has an environment, and its adapters are type-checked there.
WEB := web-asgi web-wsgi web-mcp
ADAPTERS_web-asgi := asgi starlette fastapi litestar quart aiohttp
ADAPTERS_web-wsgi := wsgi flask _django django drf ninja pyjwt authlib flask_jwt_extended
ADAPTERS_web-mcp := mcp fastmcp grpc
PY := $(VENV)/bin/python
NODE_IDP := tests/integration/idp/oidc-provider
NODE_DRILL := examples/drill/node_jose
CORE_TESTS := tests/unit tests/rollover tests/conformance
NOT_OF_THE_CORE := $(addprefix test_,machine soak drill serving cli_ bearer simulation pytest_plugin unit_kit fault_modes bad_tokens)
NPM := $(shell command -v npm 2>/dev/null)

ifneq ($(shell command -v uv 2>/dev/null),)
pip_install = uv pip install --quiet --python $(1)
else
pip_install = $(1) -m pip install --quiet --disable-pip-version-check
endif

# Requirements come with their hashes; the package itself is built with the pinned hatchling and brings nothing along.
define install
$(call pip_install,$(PY)) --require-hashes -r $(1)
$(call pip_install,$(PY)) --no-deps --no-build-isolation --editable .
endef

# Unit and integration tests share one environment and its coverage file.
.NOTPARALLEL:
.DELETE_ON_ERROR:
.PHONY: help demo test unit coverage integration web $(WEB) node-idp node-drill drill check lint types docs bench fuzz mutants mutants-all lock clean

help: ## Show the targets.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/.run ## Play a rollover from publication to the last refused token.
	$(PY) -m keyturn demo

test: unit coverage integration web ## Run every test; what CI runs beside check.

unit: $(VENV)/.dev ## Run the tests that open no socket, on every processor.
	$(PY) -m pytest tests --ignore=tests/integration --ignore=tests/contract --ignore=tests/faults --ignore=tests/web --numprocesses auto --dist worksteal

# Without what starts threads by the thousand, or never reaches the core: Python 3.11 cannot always trace two threads that start at once
# ("Cannot install a trace function while another trace function is being installed"). `unit` runs all of it.
coverage: $(VENV)/.dev ## Measure what the tests of the pure core cover: it must be everything, to the last branch.
	$(PY) -m coverage run -m pytest $(CORE_TESTS) $(NOT_OF_THE_CORE:%=--ignore-glob='*/%*') \
		-W 'ignore:Exception ignored in thread started by:pytest.PytestUnraisableExceptionWarning'
	$(PY) -m coverage report --include='*/keyturn/_core/*' --fail-under=100

integration: $(VENV)/.dev $(VENV_IDP)/.installed node-idp $(VENV_DRILL)/.installed node-drill ## Run the tests with servers, threads, event loops and processes.
	$(PY) -m pytest tests/contract tests/faults tests/integration

web: $(WEB) ## Run the tests of the web adapters, each family with its frameworks.

$(WEB): web-%: $(VENV)-web-%/.installed
	$(dir $<)bin/python -m pytest tests/web/$*
	$(dir $<)bin/python -m mypy --strict $(ADAPTERS_$@:%=src/keyturn/integrations/%.py)

ifeq ($(NPM),)
node-idp:
	@echo "skipped: the tests against oidc-provider ($(NODE_IDP)); npm is not on PATH"
node-drill:
	@echo "skipped: the sample with jose ($(NODE_DRILL)); npm is not on PATH"
else
node-idp: $(NODE_IDP)/node_modules/.installed
node-drill: $(NODE_DRILL)/node_modules/.installed
endif

drill: $(VENV_DRILL)/.installed node-drill ## Drill the sample services and print the table; WRITE=1 writes it into the documentation.
	$(VENV_DRILL)/bin/python -m examples.drill $(if $(WRITE),--write)

check: lint types docs ## Lint, types, docs; what CI runs beside test.

lint: $(VENV)/.dev
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	@! grep -rn '://' requirements/ || { echo "requirements/ names a host; write it with make lock" >&2; exit 1; }

types: $(VENV)/.dev
	$(PY) -m mypy --strict src

docs: $(VENV)/.dev ## Build the documentation into docs/_build/html; a warning is an error.
	$(PY) -m sphinx -n -W --keep-going -b html docs docs/_build/html

bench: $(VENV_BENCH)/.installed ## Measure, beside other libraries, for some minutes.
	$(VENV_BENCH)/bin/python -m benchmarks

# The fuzzing engine has wheels for one platform; tests/fuzz/platforms.py names it, and says what stands in the way elsewhere.
SECONDS ?= 60
fuzz: ## Look for hostile bytes that break a promise, guided by coverage, for SECONDS (60) in all.
	@test -n "$(PYTHON)" || { echo "expected Python 3.11 or newer on PATH, found none (setting: PYTHON=...)" >&2; exit 1; }
	@reason=$$($(PYTHON) tests/fuzz/platforms.py) && { echo "skipped: fuzzing; $$reason"; exit 0; } || \
	$(MAKE) --no-print-directory $(VENV_FUZZ)/.installed && PYTHONPATH=src $(VENV_FUZZ)/bin/python -m tests.fuzz --seconds $(SECONDS)

mutants: $(VENV)/.dev ## Put the named faults into copies of the source, or ONLY=M12: tests must notice each.
	$(PY) -m tests.mutants $(if $(ONLY),--only $(ONLY))

mutants-all: $(VENV_MUTANTS)/.installed ## Change every place of the rules, one at a time; takes hours, and goes on where it was ended.
	$(VENV_MUTANTS)/bin/python -m tests.mutants.everything $(ONLY)

lock: ## Write requirements/ anew after a change of pyproject.toml; needs uv.
	scripts/lock

clean: ## Remove everything that a target made.
	rm -rf $(VENV) $(WEB:%=$(VENV)-%) $(VENV_IDP) $(VENV_BENCH) $(VENV_DRILL) .drill $(VENV_FUZZ) .fuzz $(VENV_MUTANTS) .mutants $(NODE_IDP)/node_modules $(NODE_DRILL)/node_modules build dist docs/_build htmlcov .coverage .coverage.* \
		.hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(PY):
	@test -n "$(PYTHON)" || { echo "expected Python 3.11 or newer on PATH, found none (setting: PYTHON=...)" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

# dev.txt holds everything of run.txt in the same versions, so either may be installed first.
$(VENV)/.run: requirements/run.txt pyproject.toml | $(PY)
	$(call install,$<)
	@touch $@

$(VENV)/.dev: requirements/dev.txt pyproject.toml | $(PY)
	$(call install,$<)
	@touch $@

$(VENV_IDP)/bin/python:
	@test -n "$(PYTHON)" || { echo "expected Python 3.11 or newer on PATH, found none (setting: PYTHON=...)" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV_IDP)

$(VENV_IDP)/.installed: requirements/idp.txt | $(VENV_IDP)/bin/python
	$(call pip_install,$(VENV_IDP)/bin/python) --require-hashes -r $<
	@touch $@

$(VENV_BENCH)/bin/python:
	@test -n "$(PYTHON)" || { echo "expected Python 3.11 or newer on PATH, found none (setting: PYTHON=...)" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV_BENCH)

$(VENV_BENCH)/.installed: requirements/peers.txt pyproject.toml | $(VENV_BENCH)/bin/python
	$(call pip_install,$(VENV_BENCH)/bin/python) --require-hashes -r $<
	$(call pip_install,$(VENV_BENCH)/bin/python) --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV_DRILL)/bin/python:
	@test -n "$(PYTHON)" || { echo "expected Python 3.11 or newer on PATH, found none (setting: PYTHON=...)" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV_DRILL)

$(VENV_DRILL)/.installed: requirements/drill.txt pyproject.toml | $(VENV_DRILL)/bin/python
	$(call pip_install,$(VENV_DRILL)/bin/python) --require-hashes -r $<
	$(call pip_install,$(VENV_DRILL)/bin/python) --no-deps --no-build-isolation --editable .
	@touch $@

$(WEB:%=$(VENV)-%/bin/python):
	@test -n "$(PYTHON)" || { echo "expected Python 3.11 or newer on PATH, found none (setting: PYTHON=...)" >&2; exit 1; }
	$(PYTHON) -m venv $(@:/bin/python=)

$(WEB:%=$(VENV)-%/.installed): $(VENV)-%/.installed: requirements/%.txt pyproject.toml | $(VENV)-%/bin/python
	$(call pip_install,$(VENV)-$*/bin/python) --require-hashes -r $<
	$(call pip_install,$(VENV)-$*/bin/python) --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV_FUZZ)/bin/python:
	$(PYTHON) -m venv $(VENV_FUZZ)

$(VENV_FUZZ)/.installed: requirements/fuzz.txt | $(VENV_FUZZ)/bin/python
	$(call pip_install,$(VENV_FUZZ)/bin/python) --require-hashes -r $<
	@touch $@

$(VENV_MUTANTS)/bin/python:
	@test -n "$(PYTHON)" || { echo "expected Python 3.11 or newer on PATH, found none (setting: PYTHON=...)" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV_MUTANTS)

$(VENV_MUTANTS)/.installed: requirements/mutants.txt | $(VENV_MUTANTS)/bin/python
	$(call pip_install,$(VENV_MUTANTS)/bin/python) --require-hashes -r $<
	@touch $@

$(NODE_IDP)/node_modules/.installed: $(NODE_IDP)/package-lock.json
	cd $(NODE_IDP) && npm ci --ignore-scripts
	@touch $@

$(NODE_DRILL)/node_modules/.installed: $(NODE_DRILL)/package-lock.json
	cd $(NODE_DRILL) && npm ci --ignore-scripts
	@touch $@
