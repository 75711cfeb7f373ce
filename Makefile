# findable: one target per command. `make` alone prints help.
#
# Values such as Q= and EXPERTS= reach the commands through the environment, never as shell text: each is taken as it was
# typed (`$(value …)`), so that nothing in it is expanded by make or run by a shell. They may stand in the environment,
# too, but for those that may well be another project's there, and would do harm unseen.

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

# what `make help` lists: fifteen, whatever comes; `ALL=1` lists what else stands above "for developers", in this file's order
EVERYDAY := demo ask import tag run preflight batch-submit batch-poll batch-ingest index search show export status doctor

VALUES := EXPERTS EXPERT LIMIT MODE BUDGET DEADLINE IF_SHED PILOT ON_DONE ON_FAIL DRY WAIT BATCH ROLLBACK Q K TO FROM STRICT REPORT MAP JSON YES QUERIES QRELS PORT ALL DEBUG \
  DATA BACKEND DATABASE_URL MODEL EMBEDDING_MODEL DIM MODELS_FILE TIER RPM TPM RPD BATCH_ROWS BATCH_BYTES BATCH_TOKENS \
  CONFIRM_ABOVE BUDGET_PER_DAY CONCURRENCY CREATE_TIMEOUT LIST_LAG CALL_TIMEOUT RETRY_FOR RETRY_WAIT POLL_FIRST POLL_MOST \
  POLL_PATIENCE BATCH_HOURS KEEP_DAYS ASK_EACH \
  TASK ACCEPT_CHANGED REFRESH VERSION SKIP_VERSIONS PASSAGES_TABLE PREFER_VERSIONS MIN_CONFIDENCE GATES PASSAGES PASSAGE EXTRACTOR N SKIP_PILOT NO_RESUME BEST ROWS COST \
  FOLDER SHEET SOURCE OVERWRITE \
  MINUTES SEED WORKERS MOST FIND STATE AFTER BY EXACT NAME ITEM RAW A B WORSE_OK \
  MORE MERGE UNDO WHO ADD REMOVE RENAME RANK TAG MIN_SCORE MAX_SCORE SORT FIELDS COUNTS FORMAT WHERE LIKE READONLY NO_OPEN HOST
COMMON := DATABASE_URL VERSION DEBUG MAP FIND STATE AFTER NAME ITEM RAW A B ROWS COST RANK TAG SORT FIELDS COUNTS FORMAT WHERE LIKE ADD REMOVE \
  RENAME READONLY HOST SHEET SOURCE OVERWRITE
# what stands on the command line, for messages that say what to type, and to find a variable that is mistyped
export FINDABLE_GIVEN := $(MAKECMDGOALS) :$(foreach name,$(.VARIABLES),$(if $(filter command,$(firstword $(origin $(name)))), $(name)))
define pass
ifneq ($(filter command override $(if $(filter $(COMMON),$(1)),,environment),$(firstword $(origin $(1)))),)
ifneq ($$(value $(1)),)
override $(1) := $$(value $(1))
export FINDABLE_$(1) := $$(value $(1))
endif
endif
endef
$(foreach name,$(VALUES),$(eval $(call pass,$(name))))

# lines of a list: those before or after "for developers", of these targets or of all
LIST = @awk -v wanted=$(1) -v only=" $(2) " 'BEGIN {FS = ":.*\#\# "} /^\# for developers/ {part = 1} \
  part == wanted && /^[a-z-]+:.*\#\# / && (only ~ /^ *$$/ || index(only, " " $$1 " ")) {printf "  %-17s %s\n", $$1, $$2}' Makefile

.PHONY: help
help: ## list the everyday targets; ALL=1 lists all
	$(call LIST,0,$(if $(filter-out 0,$(ALL)),,$(EVERYDAY)))
	@echo; echo "$(if $(filter-out 0,$(ALL)),,make help ALL=1 lists all of them; )make help-dev lists those for developers of findable"

.PHONY: help-dev
help-dev: ## list the targets for developers of findable
	$(call LIST,1,)

# only what is imported is compiled: to compile all would double the Python files on the disk
INSTALL := $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-compile
LOCKED := $(INSTALL) --no-deps --require-hashes
IMPORTED := faiss, fastapi, google.genai.types, jinja2, rich.progress, sqlalchemy, starlette.applications, tokenizers, uvicorn
# the library of each extra, which the second lock file pins
LIBRARY_postgresql := psycopg
LIBRARY_parquet := pyarrow
LIBRARY_heic := pillow-heif

.PHONY: setup
setup: $(READY) ## make .venv with what running needs; EXTRAS="postgresql parquet heic" adds their libraries
	$(if $(EXTRAS),@sed -n '$(foreach extra,$(EXTRAS),/^$(or $(LIBRARY_$(extra)),$(error EXTRAS= knows postgresql, parquet and heic))/,/[^\\]$$/p;)' \
	  requirements-dev.lock | $(LOCKED) -r /dev/stdin)

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' || \
	  { echo "findable needs Python 3.11, 3.12 or 3.13; name one: make setup PYTHON=python3.12" >&2; exit 1; }
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

demo: setup ## run the whole chain on the sample people, passages and images, on the local engine, anew in data/demo
ask: setup ## ask about five rows of your own table, FROM=reviews.csv Q="Praise or blame?" FIELDS="tone: praise|blame|mixed; reason: quote", and price all; NAME=reviews keeps it as a task
new-task: setup ## write tasks/NAME.py, which asks about the rows of FROM=table.csv (.xlsx, .jsonl, .json, .parquet, or a SELECT) and runs as it is; SHEET=, SOURCE=another database
verify-gemini: setup ## the first thing with a key: five invented rows by batch, live and by flex, for $$0.05 at most, and a report that can be sent; YES=1
try: setup ## ask about a few rows, and show what is sent and what comes back; only its cost is kept: TASK= N=3 SEED=7 or ITEM=key; A=1 B=2 N=50 puts two versions, models or files side by side
import: setup ## import people from EXPERTS=file.csv (or .xlsx, .jsonl, .json); MAP="bio=About me", STRICT=1, REPORT=rejects.csv, DRY=1 only says what would go in
import-images: setup ## import the images below FOLDER=photos/; again for what is new, was moved or changed; then TASK=images
tag: setup ## tag all untagged people, or answer all rows of TASK=yours, live or by batch: MODE=live or batch, BUDGET=5 DEADLINE=2h LIMIT=50 PILOT=20 WAIT=1 YES=1
run: setup ## do once whatever is due, for cron; ON_DONE= and ON_FAIL= are commands that get the summary as JSON
preflight: setup ## estimate cost and time of tagging, or of TASK=yours, by batch and live; DEADLINE=2h
batch-submit: setup ## submit batches for all untagged people, or all rows of TASK=yours; LIMIT=50 to try a few, PILOT=20 first, DRY=1 only shows the plan
batch-poll: setup ## wait until every batch is over and its result is on disk; WAIT=0 looks once
batch-ingest: setup ## write the results into the database, with scores
batches: setup ## list the batches
costs: setup ## add up what was spent: BY=day, task, model or batch
batch-cancel: setup ## cancel batch BATCH=n
score: setup ## recompute all findability scores
index: setup ## embed changed texts, build, verify, promote; ROLLBACK=1 puts the previous build back; WORSE_OK=1 passes the gate of judged questions
search: setup ## find the experts who fit a question, or rows of TASK: Q="who knows water law" K=10 RANK=words or vectors TAG=law MIN_SCORE=60 WHERE="hourly_rate < 120" LIKE=username
add-expert: setup ## add one new person from EXPERT=file.json, tagged at once; MAP="bio=About me"
items: setup ## list items, passages with TASK=passages, or rows with TASK=yours, by a part of what they are called: FIND=text STATE=parked TAG=law EXTRACTOR=version MIN_SCORE=40 MAX_SCORE=60 WHERE="stars < 3" SORT=-username FIELDS=username,bio LIMIT=20 AFTER=id; COUNTS=1 counts them, TO=view.csv writes all
show: setup ## show everything known about one person, EXPERT=username or a part of the name, or of any task TASK= ITEM=key; RAW=1
tags: setup ## count the tags of people, and merge those that say the same: FIND=text K=20 MERGE="ml=machine learning" UNDO=1 WHO=name; or edit those of one person: EXPERT=username ADD="law; ml" REMOVE=tag RENAME="old=new" UNDO=1
log: setup ## list the newest N=10 requests of a task, or of all with ALL=1, and what came of each; RAW=1
export: setup ## write experts, concepts with TASK=passages, or answers with TASK=yours, to TO=experts.csv (.xlsx, .jsonl, .json, .parquet, -); OVERWRITE=1, BEST=1, EXTRACTOR=, ROWS=field, COST=1
status: setup ## show the state of the workspace, and the next command; EXACT=1 counts anew
qc: setup ## measure and judge the answers of a task, and write the report: TASK=passages EXTRACTOR=name GATES="evidence=0.95"
parked: setup ## list people who are not asked again, and why; passages or rows with TASK=
versions: setup ## list every version of answers: rows, items, dates, cost; of passages or of your own task alone with TASK=
rollback: setup ## take back the answers of EXTRACTOR=passage-concepts@2, or of one model behind a slash; asks first
best-concepts: setup ## print the preferred concepts of PASSAGE=id, or of all passages as JSON lines
doctor: setup ## check the workspace against itself and the backend, and say what repairs it
backup: setup ## copy the whole workspace into a new folder: TO=path; on PostgreSQL it says what to type
restore: setup ## put a backup into DATA=folder, which is new or empty: FROM=path; with DATABASE_URL= its database into PostgreSQL
forget: setup ## remove one person everywhere: EXPERT=username; or an item of your own task: TASK=reviews ITEM=key
clean: setup ## remove files and builds older than KEEP_DAYS=30 that nothing needs; DRY=1 only lists them
eval: setup ## measure the search in service: QUERIES=queries.jsonl QRELS=qrels.tsv
web: setup ## serve the page of the workspace on this machine, on PORT=8765: see, search, add, rebuild; READONLY=1, NO_OPEN=1 starts no browser
emulator: setup ## serve the local engine alone, on PORT=8080
prices: setup ## print prices and limits of the models, with sources; TIER=free, 1, 2 or 3
settings: setup ## list the settings that were changed, and where from; ALL=1 lists all

# other names for what the commands above do
ALIASES := import-passages passages-pilot passages-backfill passages-status tag-live people preflight import-images log score best-concepts
COMMANDS := demo ask verify-gemini new-task try import tag run batch-submit batch-poll batch-ingest batches unpark \
  costs batch-cancel index search add-expert items show tags export status qc parked versions rollback \
  doctor backup restore forget clean eval web emulator prices settings $(ALIASES)
.PHONY: $(COMMANDS)
$(COMMANDS): setup
	@$(RUN) $@

# for developers: what stands below is listed by `make help-dev`, and needs more than running does

.PHONY: check
check: $(TOOLS) ## format, lint, types, docs, and that the house is no larger
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
ON_DATABASE := $(addprefix tests/unit/store/test_,asks.py locks.py) \
  $(addprefix tests/integration/,experts passages tables) \
  tests/integration/batch/test_ingest.py \
  $(addprefix tests/integration/ops/test_,items.py doctor.py forget.py::test_nothing_is_left_of_a_person_in_any_byte) \
  tests/property/passages/test_preferring.py
# what is compiled is kept, even where Python is told to keep nothing: for other workers, and out of what is timed
test twin-days test-web test-full bench: export PYTHONDONTWRITEBYTECODE :=

.PHONY: test
test: $(TOOLS) ## the tests on SQLite, and on PostgreSQL those in which the database makes a difference; many cases are sampled
	@$(VENV)/bin/python -m tests.both $(ON_DATABASE)

# the product as it was when the yardstick was set, in an environment of its own
YARDSTICK := $(VENV)/yardstick
$(YARDSTICK)/.ready: tests/acceptance/yardstick.zip
	@rm -rf $(YARDSTICK) && $(PYTHON) -m venv $(YARDSTICK) && $(PYTHON) -m zipfile -e $< $(YARDSTICK)/product
	@$(YARDSTICK)/bin/python -m pip install --quiet --disable-pip-version-check --no-compile --no-deps --require-hashes \
	  -r $(YARDSTICK)/product/environment.lock
	@$(YARDSTICK)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --editable $(YARDSTICK)/product
	@touch $@

# the newest SDK that pyproject.toml allows, beside the oldest, which is locked and which all other tests run with
NEWEST := $(VENV)/newest-sdk
$(NEWEST)/.ready: pyproject.toml | $(READY)
	@rm -rf $(NEWEST) && $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-compile --no-deps \
	  --target $(NEWEST) "$$(sed -n 's/^ *"\(google-genai[^"]*\)".*/\1/p' pyproject.toml)"
	@touch $@

.PHONY: twin-days
twin-days: $(TOOLS) $(YARDSTICK)/.ready ## live each day with the product of when the yardstick was set and with this one, and compare what a user sees
	@$(VENV)/bin/python -m tests.both --twins

.PHONY: test-web
test-web: $(TOOLS) ## the page in Debian's Chromium, from start to end; makes the pictures of docs/web.md anew
	@command -v chromium >/dev/null || { echo "there is no chromium here; on Debian: apt-get install chromium fonts-dejavu-core" >&2; exit 1; }
	@FAULTS=all PICTURES="$(CURDIR)/docs/web" $(VENV)/bin/python -m pytest -q tests/browser

.PHONY: test-full
test-full: $(TOOLS) $(YARDSTICK)/.ready $(NEWEST)/.ready ## every test with every case on both databases, twin days, a crowd, part of the crash sweep, mutants: an hour
	@$(VENV)/bin/python -m tests.full

.PHONY: house
house: setup ## print rooms, floors, arrows and all that `make check` lets only fall; SET=1 writes down what fell
	@$(VENV)/bin/python -m tests.ratchet house $(if $(filter-out 0,$(SET)),set)

.PHONY: audit
audit: setup ## look up every locked dependency among known vulnerabilities (pip-audit, in a place of its own)
	@test -x $(VENV)/audit/bin/pip-audit || { $(PYTHON) -m venv $(VENV)/audit \
	  && $(VENV)/audit/bin/python -m pip install --quiet --disable-pip-version-check 'pip-audit>=2.7,<3'; } \
	  || { echo "pip-audit cannot be installed here: nothing was looked up" >&2; exit 1; }
	@$(VENV)/bin/python -m tests.security.audit $(VENV)/audit/bin/pip-audit

.PHONY: mutants
mutants: $(TOOLS) ## put each of forty one-line faults into a copy, and see that an acceptance test fails
	@$(VENV)/bin/python -m tests.acceptance.mutants

.PHONY: crash-sweep
crash-sweep: $(TOOLS) ## kill each day of a user before and after every durable step, and compare; WORKERS=2, MOST=200 lives, SEED=7
	@$(VENV)/bin/python -m pytest -q -n $(or $(WORKERS),auto) --dist worksteal tests/acceptance/whole_sweep.py

.PHONY: soak
soak: $(TOOLS) ## four commands at once for MINUTES=30, killed at random, on a server that fails, checked after every round; SEED=7
	@$(VENV)/bin/python -m tests.acceptance.crowd

.PHONY: bench
bench: $(TOOLS) $(YARDSTICK)/.ready ## what commands take at ROWS=10000,100000 people, beside the version of the yardstick and the naive way
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
