"""`make test-quick`: run the tests for each change, on SQLite, in a minute on two idle cores.

They are the unit tests that need no server, and the acceptance tests of the list below. The list
has the faults of `faults.toml` that each test finds. `make mutants QUICK=1` plants all faults and
runs only these acceptance tests.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.acceptance.faults import ROOT

TEST_FOLDER = Path(__file__).parent
# Unit tests, except tests that start a PostgreSQL server.
UNIT_TESTS = (
    "tests/unit",
    "--ignore=tests/unit/store/test_postgresql.py",
    "-k",
    "not server",
)
PYTEST = (sys.executable, "-m", "pytest", "-q", "--dist", "worksteal", "-n", "2")
# The acceptance tests must find at least this many faults.
MIN_KILLED = 25

# The faults that each test finds. A test may be in any file of this folder.
TESTS: dict[str, tuple[str, ...]] = {
    "test_a_budget_of_a_day_holds_over_all_processes": ("under-way-costs-nothing",),
    "test_cell_of_another_program_is_not_overwritten": ("own-column-overwritten",),
    "test_key_of_a_dotenv_file_is_not_shown": ("key-in-a-message",),
    "test_batch_on_a_later_page_of_the_list_is_found": ("one-page-of-the-list",),
    "test_batch_that_the_list_shows_late_is_awaited": ("early-list-proves-absence",),
    "test_invalid_folder_is_refused_and_nothing_is_created": ("mistyped-place-is-made",),
    "test_a_request_file_that_changed_after_sealing_is_never_sent": ("verify-takes-any-bytes",),
    "test_an_older_copy_of_the_folder_pays_for_nothing_twice": ("only-known-tries-are-found",),
    "test_an_own_task_stores_slices_or_nothing[batch]": (
        "another-meaning-is-found",
        "an-invented-quotation-gets-in",
        "offsets-of-the-folded-text",
    ),
    "test_answers_on_wrong_rows_fail_a_gate[experts-unlike-text]": ("unlike-tags-pass",),
    "test_a_persons_word_is_above_a_models": ("undo-takes-later-edits",),
    "test_file_that_is_damaged_before_verification_is_refused[ROT-]": ("changed-index-verifies",),
    "test_every_command_takes_its_steps_in_a_safe_order[own-equal]": (
        "seal-in-place",
        "seal-without-fsync",
    ),
    "test_lines_without_a_request_are_counted_and_not_applied": ("unknown-lines-miscounted",),
    "test_lists_that_are_always_full_fail_their_gate": ("full-lists-pass", "mark-up-in-a-report"),
    "test_no_cell_of_a_table_is_a_formula": ("formula-behind-a-blank",),
    "test_nothing_in_a_row_closes_its_marks[batch-experts]": ("data-closes-its-tag",),
    "test_equal_rows_share_one_request_and_its_outcome[batch]": ("same-in-one-block-asked-each",),
    "test_passages_with_ids_of_any_kind_are_asked_in_place[bigint]": ("adopts-unasked",),
    "test_tagged_while_the_request_file_is_written": ("claim-of-an-answered-item",),
    "test_previous_build_is_kept_for_a_rollback": (
        "previous-build-is-dropped",
        "rollback-to-a-broken-build",
    ),
    "test_view_shows_the_newest_answer_of_each_row": ("first-answer-is-preferred",),
    "test_two_failures_park_and_unpark_lets_go": ("parked-too-late",),
    "test_what_a_batch_did_not_come_to_is_not_charged": ("service-failure-is-charged",),
    "test_mistyped_command_is_refused_with_a_hint_and_changes_nothing": (
        "unknown-variable-is-ignored",
    ),
    "test_what_libraries_log_in_a_users_program_has_no_key": ("key-in-a-log",),
}


def find_tests() -> list[str]:
    """Return the listed acceptance tests as pytest names them, relative to this folder.

    Raises:
        LookupError: No file, or more than one, has a listed test.
    """
    files: dict[str, list[str]] = {}
    for path in sorted(TEST_FOLDER.glob("test_*.py")):
        source = path.read_text(encoding="utf-8")
        for function in re.findall(r"^def (test_\w+)\(", source, re.MULTILINE):
            files.setdefault(function, []).append(path.name)

    tests = []
    for test in TESTS:
        names = files.get(test.partition("[")[0], [])
        if len(names) != 1:
            raise LookupError(
                f"{test} is in {len(names)} files of {TEST_FOLDER}; "
                f"correct the list in {Path(__file__).name}"
            )
        tests.append(f"{names[0]}::{test}")
    return tests


def main() -> int:
    """Run the chosen tests; return the exit code of the first run that failed, or 0."""
    environ = os.environ | {"FINDABLE_TEST_DATABASE": "sqlite"}
    acceptance_tests = [str(TEST_FOLDER / test) for test in find_tests()]
    for tests in (acceptance_tests, UNIT_TESTS):
        code = subprocess.run([*PYTEST, *tests], cwd=ROOT, env=environ, check=False).returncode
        if code:
            return code
    return 0


if __name__ == "__main__":
    sys.exit(main())
