# findable: one target per command. `make` alone prints help.
#
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.SUFFIXES:
SHELL := /bin/sh

PYTHON ?= python3
VENV := .venv
READY := $(VENV)/.ready
TOOLS := $(VENV)/.ready-dev
RUN := $(VENV)/bin/python -m jobs

# What stands on the command line reaches the commands as it was typed, each as FINDABLE_<NAME>: nothing in it is expanded
# by make or run by a shell. Which of it a command takes, the command says, and whether one is mistyped.
TYPED := $(foreach name,$(.VARIABLES),$(if $(filter command,$(firstword $(origin $(name)))),$(name)))
export FINDABLE_GIVEN := $(MAKECMDGOALS) : $(TYPED)
define pass
override $(1) := $$(value $(1))
export FINDABLE_$(patsubst FINDABLE_%,%,$(1)) := $$(value $(1))
endef
$(foreach name,$(TYPED),$(eval $(call pass,$(name))))

.PHONY: help
help:
	@$(PYTHON) -m jobs.commands $(if $(filter-out 0,$(ALL)),all)

.PHONY: help-dev
help-dev:
	@awk 'BEGIN {FS = ":.*\#\# "} /^[a-z-]+:.*\#\# / {printf "  %-13s %s\n", $$1, $$2}' Makefile

# only what is imported is compiled: to compile all would double the Python files on the disk
INSTALL := $(VENV)/bin/python -m pip install --quiet --quiet --disable-pip-version-check --no-compile
LOCKED := $(INSTALL) --no-deps --require-hashes
IMPORTED := faiss, fastapi, google.genai.types, jinja2, rich.progress, sqlalchemy, starlette.applications, tokenizers, uvicorn
# the library of each extra, which the second lock file pins
LIBRARY_postgresql := psycopg
LIBRARY_parquet := pyarrow
LIBRARY_heic := pillow-heif
LIBRARY_workers := \(asgiref\|croniter\|procrastinate\|prometheus-client\|psycopg\|python-dateutil\)

.PHONY: setup
setup: $(READY) ## make .venv with what running needs; EXTRAS="postgresql workers parquet heic" adds their libraries; commands do it by themselves
	$(if $(EXTRAS),@sed -n '$(foreach extra,$(EXTRAS),/^$(or $(LIBRARY_$(extra)),$(error EXTRAS= knows postgresql, workers, parquet and heic))/,/[^\\]$$/{p;d;};)' \
	  requirements-dev.lock | $(LOCKED) -r /dev/stdin)

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 15))' || \
	  { echo "findable needs Python 3.11 to 3.14; name one: make setup PYTHON=python3.12" >&2; exit 1; }
	@echo "setting up $(VENV), once: installing the $$(grep -c == requirements.lock) packages that running needs (a minute)" >&2
	@$(VENV)/bin/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv $(VENV)
	@$(LOCKED) -r requirements.lock
	@$(INSTALL) --no-deps --editable .
	@PYTHONDONTWRITEBYTECODE= $(VENV)/bin/python -W ignore -c 'import $(IMPORTED)'
	@touch $(READY)
	@echo "$(VENV) is set up" >&2

$(TOOLS): $(READY) requirements-dev.lock
	@echo "adding to $(VENV), once: installing the $$(grep -c == requirements-dev.lock) packages that checks and tests need (a minute)" >&2
	@$(LOCKED) -r requirements-dev.lock
	@touch $(TOOLS)
	@echo "$(VENV) is set up for checks and tests" >&2

# every command of the table, and its other names; what one takes says `make tag HELP=1`
COMMANDS := $(shell sed -n 's/^    "\([a-z-]*\)": .*/\1/p' jobs/commands.py)
.PHONY: $(COMMANDS)
$(COMMANDS): setup
	@$(RUN) $@ $(if $(filter-out 0,$(HELP)),--help)
.DEFAULT: # a word that is no target: the commands say which is near
	@$(RUN) $@

# for developers: what stands below needs more than running does

.PHONY: check
check: $(TOOLS) ## format, lint, types, docs, and the limits of tests/ratchet.toml
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/mypy
	@$(VENV)/bin/cog --check README.md docs/*.md
	@$(VENV)/bin/python -m tests.ratchet

.PHONY: docs
docs: $(TOOLS) ## regenerate the generated parts of README.md and docs/, and record again what commands print in them
	@$(VENV)/bin/cog -r README.md docs/*.md
	@$(VENV)/bin/python -W ignore -m tests.docs.recordings

# what the database makes different, for the run of the tests on PostgreSQL; `make test-full` runs everything on both
ON_DATABASE := $(addprefix tests/unit/store/test_,claims.py locks.py) \
  $(addprefix tests/integration/,experts passages tables) \
  tests/integration/batch/test_ingest.py \
  $(addprefix tests/integration/ops/test_,doctor.py forget.py::test_a_forgotten_person_is_in_no_byte) \
  tests/property/passages/test_preferring.py
# what is compiled is kept, even where Python is told to keep nothing: for other workers, and out of what is timed
test test-quick test-web test-full bench: export PYTHONDONTWRITEBYTECODE :=

.PHONY: test
test: $(TOOLS) ## the tests on SQLite, and on PostgreSQL those in which the database makes a difference; many cases are sampled
	@$(VENV)/bin/python -m tests.both $(ON_DATABASE)

.PHONY: test-quick
test-quick: $(TOOLS) ## after each change: unit tests, and the acceptance tests that find most faults; a minute, without PostgreSQL
	@$(VENV)/bin/python -m tests.acceptance.quick

# The oldest and the newest SDK that pyproject.toml allows, beside the locked one, which all other tests run with.
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
test-web: $(TOOLS) ## the page in Debian's Chromium, from start to end; makes the pictures of docs/web.md anew
	@command -v chromium >/dev/null || { echo "there is no chromium here; on Debian: apt-get install chromium fonts-dejavu-core" >&2; exit 1; }
	@FAULTS=all PICTURES="$(CURDIR)/docs/web" $(VENV)/bin/python -m pytest -q tests/browser

.PHONY: test-full
test-full: $(TOOLS) $(OLDEST)/.ready $(NEWEST)/.ready ## every test with every case on both databases, a crowd, part of the crash sweep, mutants: an hour
	@$(VENV)/bin/python -m tests.full

.PHONY: house
house: setup ## print the size and shape of the code with their limits; SET=1 records what fell
	@$(VENV)/bin/python -m tests.ratchet house $(if $(filter-out 0,$(SET)),set)

.PHONY: audit
audit: setup ## look up every locked dependency among known vulnerabilities (pip-audit, in a place of its own)
	@test -x $(VENV)/audit/bin/pip-audit || { $(PYTHON) -m venv $(VENV)/audit \
	  && $(VENV)/audit/bin/python -m pip install --quiet --disable-pip-version-check 'pip-audit>=2.7,<3'; } \
	  || { echo "pip-audit cannot be installed here: nothing was looked up" >&2; exit 1; }
	@$(VENV)/bin/python -m tests.security.audit $(VENV)/audit/bin/pip-audit

PRICES_FOLDER := $(VENV)/price-packages
.PHONY: check-prices
check-prices: setup ## compare the table of models with the newest genai-prices and litellm from PyPI
	@$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-compile --no-deps --upgrade \
	  --target $(PRICES_FOLDER) genai-prices litellm
	@$(VENV)/bin/python -m tests.check_prices $(PRICES_FOLDER)

.PHONY: mutants
mutants: $(TOOLS) ## put each of thirty one-line faults into a copy, and see that an acceptance test fails; QUICK=1 with those of test-quick
	@$(VENV)/bin/python -m tests.acceptance.mutants $(if $(filter-out 0,$(QUICK)),--quick)

.PHONY: crash-sweep
crash-sweep: $(TOOLS) ## kill each day of a user before and after every durable step, and compare; WORKERS=2, MOST=200 lives, SEED=7
	@$(VENV)/bin/python -m pytest -q -n $(or $(WORKERS),auto) --dist worksteal tests/acceptance/whole_sweep.py

.PHONY: soak
soak: $(TOOLS) ## four commands at once for MINUTES=30, killed at random, on a server that fails, checked after every round; SEED=7
	@$(VENV)/bin/python -m tests.acceptance.crowd

.PHONY: bench
bench: $(TOOLS) ## what commands take at ROWS=10000,100000 people
	@$(VENV)/bin/python -m tests.bench

.PHONY: format
format: $(TOOLS) ## format the code
	@$(VENV)/bin/ruff format .
	@$(VENV)/bin/ruff check --fix .

# without scipy, 143 MB, which pytrec-eval-terrier asks for and never imports
LOCK = @$(VENV)/lock/bin/uv pip compile pyproject.toml --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-emit-package scipy \
  --custom-compile-command "make lock" $(if $(filter-out 0,$(UPGRADE)),--upgrade)

.PHONY: lock
lock: setup ## regenerate both lock files from pyproject.toml: pins stay if they fit; UPGRADE=1 takes the newest
	@test -x $(VENV)/lock/bin/uv || { $(PYTHON) -m venv $(VENV)/lock \
	  && $(VENV)/lock/bin/python -m pip install --quiet --disable-pip-version-check 'uv>=0.9,<1'; }
	$(LOCK) -o requirements.lock
	$(LOCK) --extra test -c requirements.lock $$(sed -n 's/^\([a-z0-9._-]*\)==.*/--no-emit-package \1/p' requirements.lock) \
	  -o requirements-dev.lock
