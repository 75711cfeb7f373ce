"""Check the workspace against itself and the backend; mend, where told to, what loses nothing, and ask for the rest.

Reads whole files and asks about every batch, so it is for a quiet moment and not for a loop. Without `fix` nothing is
changed.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pipeline.batch import prepare
from pipeline.core.errors import ConfigurationError, FindableError, InconsistentError, RemoteError
from pipeline.engine.workspace import OpenWorkspace
from pipeline.experts import table
from pipeline.experts.columns import number_of, tags_of, text_of
from pipeline.experts.score import score
from pipeline.ops import forget_files
from pipeline.ops.checks import files, index, machine, remote, rows, tasks
from pipeline.ops.checks.finding import Check, CheckContext, CheckFinding, Mend
from pipeline.store import answers, erase, workspace

SCORES = "scores that do not follow from their row"
TAGS = "tags that another program changed after they were written"
TEXT = "text that is no UTF-8, read with gaps"
GAP = "\N{REPLACEMENT CHARACTER}"
EXAMPLES = 3
WHY = {
    TAGS: "what they came from cannot be told any more",
    TEXT: "it is asked about and found with gaps; it is never written back",
}
NEXT = {TAGS: "nothing, where that was meant", TEXT: "mend the text in the table"}


@dataclass
class DoctorReport:
    """What was found, in the order of the checks, how many checks there were, and which rows were looked at."""

    looked: int = 0
    findings: list[CheckFinding] = field(default_factory=list)
    seen: list[CheckContext] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)
    failure: ConfigurationError | RemoteError | None = None  # the first reason why the backend could not be asked

    @property
    def healthy(self) -> bool:
        """True when no contradiction stands."""
        return not any(finding.is_open for finding in self.findings)

    def check(self) -> None:
        """Pass when no contradiction stands and the backend could be asked.

        Raises:
            InconsistentError: a contradiction stands; what was mended stays mended.
            ConfigurationError, RemoteError: the key is refused, or the backend cannot be reached.
        """
        still = [finding for finding in self.findings if finding.is_open]
        if still:
            can = any(finding.mendable for finding in still)
            hint = next((finding.remedy for finding in still if finding.remedy), "")
            raise InconsistentError(
                f"{len(still)} of the findings contradict what is stored and were not mended",
                hint="`make doctor FIX=1` mends what can be mended, and asks where something is lost" if can else hint,
            )
        if self.failure is not None:
            raise self.failure


def run(ws: OpenWorkspace, *, fix: bool, confirm: Callable[[str], bool]) -> DoctorReport:
    """Run every check, one after the other; a check that cannot be carried out is a finding.

    With `fix` what loses nothing is mended, and `confirm` is asked for the rest.
    """
    report = DoctorReport(versions=machine.versions())
    mend = Mend(on=fix, confirm=confirm)
    ws.says_where = False
    if _is_unreadable(ws, report):
        return report
    for name, check in CHECKS.items():
        if report.failure is not None and name in REMOTE:
            continue  # each would wait as long for nothing
        report.looked += 1
        try:
            for one in check(ws, mend=mend):
                report.seen.append(one) if isinstance(one, CheckContext) else report.findings.append(one)
        except (ConfigurationError, RemoteError) as error:
            report.failure = report.failure or error
            why = "nothing there could be compared with what is here"
            report.findings.append(CheckFinding(name, error.message, why, contradiction=False, next=error.hint))
        except FindableError as error:
            why = "this could not be looked at"
            report.findings.append(CheckFinding(name, error.message, why, next=error.hint))
    return report


def _is_unreadable(ws: OpenWorkspace, report: DoctorReport) -> bool:
    """Check the database itself first; where its rows cannot be trusted, nothing else is looked at."""
    report.looked += 1
    report.findings += rows.check_database(ws)
    return bool(report.findings)


def check_people(ws: OpenWorkspace, *, mend: Mend) -> Iterator[CheckFinding]:
    """Do scores follow from the rows, and tags from the answers that were applied?"""
    wrong: dict[str, list[str]] = {SCORES: [], TAGS: [], TEXT: []}
    with ws.store.read() as tx, ws.display.bar("checking people", table.count_experts(tx), late=True) as bar:
        applied = answers.current_answers(tx, table.TASK)
        for number, row in enumerate(table.all_experts(tx), start=1):
            for kind in _wrong(row, applied.pop(str(row["id"]), None)):
                wrong[kind].append(text_of(row["username"]))
            bar.show(number)
    if wrong[SCORES]:
        mended = _rescore(ws) if mend.on else ""
        why = "whoever sorts by it sees a wrong order"
        yield CheckFinding("people", f"{SCORES}: {_some(wrong[SCORES])}", why, mendable=True, mended=mended)
    for kind, why in WHY.items():
        if wrong[kind]:
            yield CheckFinding("people", f"{kind}: {_some(wrong[kind])}", why, contradiction=False, next=NEXT[kind])
    if applied:
        yield _orphans(ws, sorted(applied), mend=mend)


def _orphans(ws: OpenWorkspace, ids: list[str], *, mend: Mend) -> CheckFinding:
    """Return the finding about answers without a row: another program deleted it, and what was asked stays here."""
    mended = ""
    if mend.may(
        f"Remove what is left of {len(ids)} people whose rows are gone: answers, lines in sealed files, vectors?"
    ):
        with ws.waited_lease(prepare.LEASE, waiting=prepare.WAITING) as lease:
            forget_files.drop_lines(ws, table.TASK, ids, words=())
            with ws.store.write() as tx:
                lease.check(tx)
                for one in ids:
                    erase.erase_item(tx, table.TASK, one, words=())
        forget_files.drop_vectors(ws)
        mended = "removed; make index builds an index without them"
    said = f"{len(ids)} answers belong to people who are not there any more"
    why = "another program deleted their rows; what was asked about them is still kept"
    return CheckFinding("people", said, why, contradiction=False, mendable=True, mended=mended)


def _wrong(row: Mapping[Any, Any], answer: str | None) -> Iterator[str]:
    """Yield what is wrong with one row of `experts`."""
    if score(row) != number_of(row["findability_score"]):
        yield SCORES
    if answer is not None and tags_of(row["tags"]) != json.loads(answer).get("tags"):
        yield TAGS
    if any(GAP in text_of(row[column]) for column in ("username", *table.INPUT_COLUMNS)):
        yield TEXT


def _rescore(ws: OpenWorkspace) -> str:
    """Bring every score up to date."""
    with ws.store.write() as tx:
        changed = table.rescore_pages(tx)
        workspace.touch_revision(tx)
    return f"wrote {changed} scores"


def _some(names: list[str]) -> str:
    """Return how many people these are, with the first of them."""
    more = "" if len(names) <= EXAMPLES else ", …"
    return f"{len(names)} ({', '.join(names[:EXAMPLES])}{more})"


CHECKS: dict[str, Check] = {
    "versions": machine.check_versions,
    "disk": machine.check_disk,
    "batches": rows.check_batches,
    "loose rows": rows.check_loose,
    "claims": rows.check_claims,
    "calls": rows.check_calls,
    "usage": rows.check_usage,
    "request files": files.check_requests,
    "result files": files.check_results,
    "litter": files.check_litter,
    "people": check_people,
    "rows": tasks.check_rows,
    "tasks": tasks.check_tasks,
    "pilots": tasks.check_pilots,
    "reports": tasks.check_reports,
    "index": index.check_index,
    "links": index.check_links,
    "staging": index.check_staging,
    "vectors": index.check_vectors,
    "forgotten": rows.check_forgotten,
    "rolled back": rows.check_withdrawn,
    "leases": rows.check_leases,
    "models": remote.check_models,
    "backend": remote.check_remote,
    "uploads": remote.check_uploads,
}
REMOTE = frozenset({"models", "backend", "uploads"})
