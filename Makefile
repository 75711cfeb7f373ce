# findable: one target per command. `make` alone prints help.
#
# Values such as Q= and EXPERTS= reach the commands through the environment, never as shell text: each is taken as it was
# typed (`$(value …)`), so that nothing in it is expanded by make or run by a shell.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.SUFFIXES:
SHELL := /bin/sh

PYTHON ?= python3
VENV := .venv
READY := $(VENV)/.ready
RUN := $(VENV)/bin/python -m jobs

VALUES := EXPERTS EXPERT LIMIT DRY WAIT BATCH ROLLBACK Q K TO FROM STRICT REPORT JSON YES QUERIES QRELS PORT FIX ALL DEBUG \
  DATA BACKEND DATABASE_URL PG_BIN MODEL EMBEDDING_MODEL DIM MODELS_FILE API_VERSION BATCH_ROWS BATCH_BYTES BATCH_TOKENS \
  CONFIRM_ABOVE CREATE_TIMEOUT LIST_LAG CALL_TIMEOUT TRANSFER_TIMEOUT RETRY_FOR RETRY_WAIT POLL_FIRST POLL_MOST \
  POLL_PATIENCE BATCH_HOURS UPLOAD_HOURS LEASE KEEP_DAYS MIME_TYPES SECONDS KEEP \
  MINUTES SEED ROUNDS WORKERS MOST KILLS
define pass
ifneq ($(origin $(1)),undefined)
ifneq ($$(value $(1)),)
override $(1) := $$(value $(1))
export FINDABLE_$(1) := $$(value $(1))
endif
endif
endef
$(foreach name,$(VALUES),$(eval $(call pass,$(name))))

.PHONY: help
help: ## print this list
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  %-14s %s\n", $$1, $$2}' Makefile

.PHONY: setup
setup: $(READY) ## make .venv with everything in it

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' || \
	  { echo "findable needs Python 3.11, 3.12 or 3.13; name one: make setup PYTHON=python3.12" >&2; exit 1; }
	@echo "setting up $(VENV) (once; about a minute)" >&2
	@test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	@$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $(READY)

.PHONY: demo
demo: setup ## the whole chain on the sample people, on the local engine, afresh in data/demo
	@$(RUN) demo

.PHONY: import
import: setup ## people from EXPERTS=file.csv (or .jsonl, .json) into the database; STRICT=1, REPORT=rejects.csv
	@$(RUN) import

.PHONY: batch-submit
batch-submit: setup ## ask Gemini about everyone untagged; LIMIT=50 to try a few, DRY=1 to see what would happen
	@$(RUN) batch-submit

.PHONY: batch-poll
batch-poll: setup ## wait until every batch is over and its result is on disk; WAIT=0 looks once
	@$(RUN) batch-poll

.PHONY: batch-ingest
batch-ingest: setup ## results into the database, with scores
	@$(RUN) batch-ingest

.PHONY: batches
batches: setup ## the list of batches
	@$(RUN) batches

.PHONY: batch-cancel
batch-cancel: setup ## give up batch BATCH=n
	@$(RUN) batch-cancel

.PHONY: score
score: setup ## recompute every findability score
	@$(RUN) score

.PHONY: index
index: setup ## embed what changed, build, verify, promote; ROLLBACK=1 puts the previous build back
	@$(RUN) index

.PHONY: search
search: setup ## the nearest experts: Q="who knows water law" K=10
	@$(RUN) search

.PHONY: add-expert
add-expert: setup ## one new person from EXPERT=file.json, tagged at once
	@$(RUN) add-expert

.PHONY: show
show: setup ## everything known about one person: EXPERT=username
	@$(RUN) show

.PHONY: export
export: setup ## experts with tags and scores: TO=experts.csv (or .jsonl, .json, - for standard output)
	@$(RUN) export

.PHONY: status
status: setup ## where everything stands, and what to type next
	@$(RUN) status

.PHONY: parked
parked: setup ## who is not asked again, and why
	@$(RUN) parked

.PHONY: unpark
unpark: setup ## let parked people go again: EXPERT=username or ALL=1
	@$(RUN) unpark

.PHONY: doctor
doctor: setup ## check the workspace against itself and the backend; FIX=1 mends what loses nothing, and asks for the rest
	@$(RUN) doctor

.PHONY: backup
backup: setup ## a copy of the whole workspace in a new folder: TO=path
	@$(RUN) backup

.PHONY: restore
restore: setup ## a backup in the place of the workspace: FROM=path; asks before it moves one aside
	@$(RUN) restore

.PHONY: move
move: setup ## the database from its SQLite file into PostgreSQL, compared row by row: TO=postgresql+psycopg://user@host/database
	@$(RUN) move

.PHONY: forget
forget: setup ## remove one person everywhere, and prove it: EXPERT=username
	@$(RUN) forget

.PHONY: clean
clean: setup ## remove files and builds older than KEEP_DAYS=30 that nothing needs; DRY=1 says what
	@$(RUN) clean

.PHONY: keeping-sweep
keeping-sweep: setup ## forget, clean, backup and restore killed before and after every step; make test has a sample
	@KEEPING=all $(VENV)/bin/python -m pytest -q --timeout 7200 tests/crash/test_keeping.py

.PHONY: eval
eval: setup ## measure the search in service: QUERIES=queries.jsonl QRELS=qrels.tsv
	@$(RUN) eval

.PHONY: emulator
emulator: setup ## the local engine alone, on PORT=8080
	@$(RUN) emulator

.PHONY: settings
settings: setup ## every setting, its value, and where it came from
	@$(RUN) settings

.PHONY: check
check: setup ## format, lint, types, docs
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/mypy
	@$(VENV)/bin/cog --check README.md docs/*.md

.PHONY: docs
docs: setup ## write the generated parts of README.md and docs/ anew
	@$(VENV)/bin/cog -r README.md docs/*.md

# what touches the database, for the second run of the tests
ON_DATABASE := tests/unit/store tests/integration/experts tests/integration/steps tests/integration/test_shared_chain.py \
  tests/integration/test_adoption_postgresql.py tests/cli tests/property/experts tests/property/steps tests/faults \
  tests/concurrency tests/crash tests/security
PYTEST := $(VENV)/bin/python -m pytest -q -n 6 --dist worksteal

.PHONY: test
test: setup ## all tests on SQLite, and on PostgreSQL those that touch the database
	@$(PYTEST)
	@FINDABLE_TEST_DATABASE=postgresql $(PYTEST) $(ON_DATABASE)

.PHONY: test-full
test-full: setup ## everything, sweep and fault matrix whole, on SQLite and on PostgreSQL; takes hours
	@HYPOTHESIS_PROFILE=default FAULTS=all KEEPING=all FINDABLE_SHARE=1 $(PYTEST) --timeout 7200
	@$(VENV)/bin/python -m tests.crash.whole
	@FINDABLE_TEST_DATABASE=postgresql HYPOTHESIS_PROFILE=default FAULTS=all KEEPING=all FINDABLE_SHARE=1 $(PYTEST) --timeout 7200
	@FINDABLE_TEST_DATABASE=postgresql $(VENV)/bin/python -m tests.crash.whole

.PHONY: fault-matrix
fault-matrix: setup ## every fault of the wire at every endpoint of every command, and 600 pairs; make test has a sample
	@FAULTS=all $(VENV)/bin/python -m pytest -q -n auto tests/faults

.PHONY: two-at-once
two-at-once: setup ## ROUNDS=60 of any two commands at once, killed and stopped at random by SEED=3; every step overtaken once
	@FINDABLE_ROUNDS=$${FINDABLE_ROUNDS:-60} FINDABLE_SHARE=1 $(VENV)/bin/python -m pytest -q -n auto tests/concurrency

.PHONY: four-workers
four-workers: setup ## four workers on one workspace until KILLS=200 of them were killed, held against the API's journal; SEED=7
	@$(VENV)/bin/python -W ignore -m tests.concurrency.four

.PHONY: fuzz
fuzz: setup ## a coverage-guided fuzzer on everything that reads bytes: SECONDS=60 in all, KEEP=1 keeps what it finds
	@test -d $(VENV)/fuzz/atheris || $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps \
	  --only-binary=:all: --target $(VENV)/fuzz 'atheris>=3,<4' \
	  || { echo "atheris, the fuzzer, cannot be installed here (it has wheels for Linux and Python 3.11 to 3.13)" >&2; exit 1; }
	@PYTHONPATH=.:$(VENV)/fuzz $(VENV)/bin/python -m tests.fuzz.explore

.PHONY: audit
audit: setup ## look up every locked dependency among known vulnerabilities (pip-audit, in a place of its own)
	@test -x $(VENV)/audit/bin/pip-audit || { $(PYTHON) -m venv $(VENV)/audit \
	  && $(VENV)/audit/bin/python -m pip install --quiet --disable-pip-version-check 'pip-audit>=2.7,<3'; } \
	  || { echo "pip-audit cannot be installed here: nothing was looked up" >&2; exit 1; }
	@$(VENV)/bin/python -m tests.security.audit $(VENV)/audit/bin/pip-audit

.PHONY: crash-sweep
crash-sweep: setup ## kill the whole chain before and after every durable step, and compare; WORKERS=2, MOST=200 lives
	@$(VENV)/bin/python -m tests.crash.whole

.PHONY: soak
soak: setup ## everything at once for MINUTES=30 (people, faults, kills, two at once), checked after every round; SEED=7
	@$(VENV)/bin/python -m tests.soak

.PHONY: bench
bench: setup ## the product beside naive ways and limits at 1,558, 10k and 100k rows; FULL=1 550k too, ONLY=ingest,score
	@$(VENV)/bin/python -m tests.bench

.PHONY: format
format: setup ## format the code
	@$(VENV)/bin/ruff format .
	@$(VENV)/bin/ruff check --fix .
