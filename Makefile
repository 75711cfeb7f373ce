# askrows: a target for each command. `make` alone prints help.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.SUFFIXES:
SHELL := /bin/sh

PYTHON ?= python3
VENV := .venv
READY := $(VENV)/.ready
TOOLS := $(VENV)/.ready-dev
RUN := $(VENV)/bin/python -m askrows

# Variables of the command line reach the commands unchanged, as ASKROWS_<NAME>: make expands nothing in them, and no
# shell runs them. The command refuses unknown variables.
TYPED := $(foreach name,$(.VARIABLES),$(if $(filter command,$(firstword $(origin $(name)))),$(name)))
export ASKROWS_GIVEN := $(MAKECMDGOALS) : $(TYPED)
define pass
override $(1) := $$(value $(1))
export ASKROWS_$(patsubst ASKROWS_%,%,$(1)) := $$(value $(1))
endef
$(foreach name,$(TYPED),$(eval $(call pass,$(name))))

.PHONY: help
help:
	@$(PYTHON) -m askrows.jobs.commands $(if $(filter-out 0,$(ALL)),all)

.PHONY: help-dev
help-dev:
	@awk 'BEGIN {FS = ":.*\#\# "} /^[a-z-]+:.*\#\# / {printf "  %-13s %s\n", $$1, $$2}' Makefile

# Only imported modules are compiled. Compiling all would double the Python files on the disk.
INSTALL := $(VENV)/bin/python -m pip install --quiet --quiet --disable-pip-version-check --no-compile
LOCKED := $(INSTALL) --no-deps --require-hashes
IMPORTED := faiss, fastapi, google.genai.types, jinja2, rich.table, sqlalchemy, starlette.applications, tokenizers, uvicorn
# The library of each extra; requirements-dev.lock pins its version.
LIBRARY_postgresql := psycopg
LIBRARY_parquet := pyarrow
LIBRARY_heic := pillow-heif
LIBRARY_eval := \(ir-measures\|pytrec-eval-terrier\)
LIBRARY_workers := \(asgiref\|croniter\|procrastinate\|prometheus-client\|psycopg\|python-dateutil\)

.PHONY: setup
setup: $(READY) ## install the needed packages into .venv, as the first command does; EXTRAS="postgresql workers parquet heic eval" adds libraries
	$(if $(EXTRAS),@sed -n '$(foreach extra,$(EXTRAS),/^$(or $(LIBRARY_$(extra)),$(error EXTRAS=$(extra) is unknown; use postgresql, workers, parquet, heic or eval))/,/[^\\]$$/{p;d;};)' \
	  requirements-dev.lock | $(LOCKED) -r /dev/stdin)

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 15))' || \
	  { echo "error: askrows needs Python 3.11 to 3.14, but $(PYTHON) is $$($(PYTHON) --version 2>&1)" >&2; \
	  echo "next: make setup PYTHON=python3.12" >&2; exit 1; }
	@echo "first run: installing $$(grep -c == requirements.lock) packages into $(VENV), about a minute" >&2
	@$(VENV)/bin/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv $(VENV)
	@$(LOCKED) -r requirements.lock
	@$(INSTALL) --no-deps --editable .
	@PYTHONDONTWRITEBYTECODE= $(VENV)/bin/python -W ignore -c 'import $(IMPORTED)'
	@touch $(READY)
	@echo "$(VENV) is ready" >&2

$(TOOLS): $(READY) requirements-dev.lock
	@echo "first run: installing $$(grep -c == requirements-dev.lock) packages for checks and tests into $(VENV), about a minute" >&2
	@$(LOCKED) -r requirements-dev.lock
	@touch $(TOOLS)
	@echo "$(VENV) is ready for checks and tests" >&2

# All commands of the table and their aliases. `make tag HELP=1` prints the options of a command.
COMMANDS := $(shell sed -n 's/^    "\([a-z-]*\)": .*/\1/p' askrows/jobs/commands.py)
.PHONY: $(COMMANDS)
$(COMMANDS): setup
	@$(RUN) $@ $(if $(filter-out 0,$(HELP)),--help)
# An unknown word: the command line suggests a similar command.
.DEFAULT:
	@$(RUN) $@

# Targets for developers. They need more packages than the commands do.

.PHONY: lint
lint: $(TOOLS) ## check format, lint, layers and types, in seconds
	@$(VENV)/bin/ruff format --check --quiet .
	@$(VENV)/bin/ruff check --quiet .
	@$(VENV)/bin/oxlint --quiet --deny-warnings
	@$(VENV)/bin/lint-imports --cache-dir $(VENV)/lint-imports
	@$(VENV)/bin/mypy

.PHONY: check
check: lint ## check all of lint, generated docs, the limits of tests/limits.toml, sdist and wheel
	@$(VENV)/bin/cog --check README.md docs/*.md
	@$(VENV)/bin/python -m tests.limits
	@DISTRIBUTIONS="$(CURDIR)/dist" $(VENV)/bin/python -m pytest -q tests/docs/test_wheel.py

.PHONY: distributions
distributions: $(TOOLS) ## build sdist and wheel into dist/, and use the wheel beside a user's own modules
	@DISTRIBUTIONS="$(CURDIR)/dist" $(VENV)/bin/python -m pytest -q tests/docs/test_wheel.py

.PHONY: docs
docs: $(TOOLS) ## write the generated parts of README.md and docs/, and record the output of their commands
	@$(VENV)/bin/cog -r README.md docs/*.md
	@RECORD=1 $(VENV)/bin/python -m pytest -q tests/docs/test_recordings.py::test_every_recording_is_the_output_of_its_commands

# Keep compiled modules, even if the environment forbids it: parallel workers share them, and timings exclude compiling.
test test-quick test-web test-rest test-full test-sdk: export PYTHONDONTWRITEBYTECODE :=

.PHONY: test
test: $(TOOLS) ## test every promise of docs/reliability.md on SQLite, and on PostgreSQL if it makes a difference; five minutes
	@$(VENV)/bin/python -m tests.runs test

.PHONY: test-quick
test-quick: $(TOOLS) ## run unit tests and the most effective acceptance tests in a minute, without PostgreSQL
	@$(VENV)/bin/python -m tests.runs quick

# The oldest and the newest SDK that pyproject.toml allows. Other tests use the locked SDK.
OLDEST := $(VENV)/oldest-sdk
NEWEST := $(VENV)/newest-sdk
SDK_RANGE = $(shell sed -n 's/^ *"\(google-genai[^"]*\)".*/\1/p' pyproject.toml)
SDK_FLOOR = $(shell sed -n 's/^ *"google-genai>=\([0-9.]*\),.*/\1/p' pyproject.toml)
ADD_SDK = @rm -rf $(@D) && $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps \
  --target $(@D)
$(NEWEST)/.ready: pyproject.toml | $(READY)
	$(ADD_SDK) "$(SDK_RANGE)"
	@touch $@
$(OLDEST)/.ready: pyproject.toml | $(READY)
	$(ADD_SDK) "google-genai~=$(SDK_FLOOR).0"
	@touch $@

.PHONY: test-web
test-web: $(TOOLS) ## test the page in Debian's Chromium; writes the pictures of docs/web.md
	@command -v chromium >/dev/null || { echo "error: chromium is not installed" >&2; echo "next: apt-get install chromium fonts-dejavu-core" >&2; exit 1; }
	@PICTURES="$(CURDIR)/docs/web" $(VENV)/bin/python -m pytest -q tests/browser

.PHONY: test-rest
test-rest: $(TOOLS) ## run the tests that `make test` leaves out
	@$(VENV)/bin/python -m tests.runs rest

.PHONY: test-full
test-full: $(TOOLS) ## run all tests, as `make test` and `make test-rest`: below 45 minutes
	@$(VENV)/bin/python -m tests.runs full

.PHONY: test-sdk
test-sdk: $(TOOLS) $(OLDEST)/.ready $(NEWEST)/.ready ## test the wire with the oldest and the newest SDK that pyproject.toml allows
	@$(VENV)/bin/python -m tests.runs sdk

.PHONY: audit
audit: setup ## look up known vulnerabilities of all locked packages (pip-audit, in its own environment)
	@test -x $(VENV)/audit/bin/pip-audit || { $(PYTHON) -m venv $(VENV)/audit \
	  && $(VENV)/audit/bin/python -m pip install --quiet --disable-pip-version-check 'pip-audit>=2.7,<3'; } \
	  || { echo "error: pip-audit cannot be installed; no package was looked up" >&2; exit 1; }
	@PIP_AUDIT="$(CURDIR)/$(VENV)/audit/bin/pip-audit" $(VENV)/bin/python -m pytest -q tests/security/test_audit.py

.PHONY: mutants
mutants: $(TOOLS) ## plant the faults of tests/acceptance/faults.toml, and check that the test of each finds it
	@MUTANTS=1 $(VENV)/bin/python -m pytest -q -n 2 --dist worksteal tests/acceptance/test_mutants.py

.PHONY: crash-sweep
crash-sweep: $(TOOLS) ## kill commands before and after every durable step, and compare the end; WORKERS=2, MOST=200 runs, SEED=7
	@WHOLE_SWEEP=1 $(VENV)/bin/python -m pytest -q -n $(or $(WORKERS),auto) --dist worksteal tests/acceptance/test_whole_sweep.py

.PHONY: soak
soak: $(TOOLS) ## run four commands at once for MINUTES=30, with random kills and server failures; SEED=7
	@ASKROWS_SEED="$${ASKROWS_SEED:-7}" ASKROWS_MINUTES="$${ASKROWS_MINUTES:-30}" \
	  $(VENV)/bin/python -m pytest -q -rP tests/acceptance/test_crowd.py

.PHONY: format
format: $(TOOLS) ## format the code
	@$(VENV)/bin/ruff format .
	@$(VENV)/bin/ruff check --fix .

# Without scipy (143 MB): pytrec-eval-terrier requires it, but never imports it.
LOCK = @$(VENV)/lock/bin/uv pip compile pyproject.toml --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-emit-package scipy \
  --custom-compile-command "make lock" $(if $(filter-out 0,$(UPGRADE)),--upgrade)

.PHONY: lock
lock: setup ## write both lock files from pyproject.toml; pins stay if valid, UPGRADE=1 uses the newest versions
	@test -x $(VENV)/lock/bin/uv || { $(PYTHON) -m venv $(VENV)/lock \
	  && $(VENV)/lock/bin/python -m pip install --quiet --disable-pip-version-check 'uv>=0.9,<1'; }
	$(LOCK) -o requirements.lock
	$(LOCK) --group test -c requirements.lock $$(sed -n 's/^\([a-z0-9._-]*\)==.*/--no-emit-package \1/p' requirements.lock) \
	  -o requirements-dev.lock
