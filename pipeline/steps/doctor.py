"""Check the workspace against itself and the backend; mend, where told to, what loses nothing, and ask for the rest.

Reads whole files and asks about every batch, so it is for a quiet moment and not for a loop. Without `fix` nothing is
changed.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pipeline import forgetting, preparing
from pipeline.checks import accounts, asked, indexed, machine, remote, sealed, subjects, withdrawn
from pipeline.checks.finding import Check, Finding, Mend, Seen
from pipeline.errors import ConfigurationError, FindableError, InconsistentError, RemoteError
from pipeline.experts import table
from pipeline.experts.cells import number_of, tags_of, text_of
from pipeline.experts.score import score
from pipeline.runtime import Runtime
from pipeline.store import answers, erasing, workspace

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
class Report:
    """What was found, in the order of the checks, how many checks there were, and which rows were looked at."""

    looked: int = 0
    findings: list[Finding] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)
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


def run(rt: Runtime, *, fix: bool, confirm: Callable[[str], bool]) -> Report:
    """Run every check, one after the other; a check that cannot be carried out is a finding.

    With `fix` what loses nothing is mended, and `confirm` is asked for the rest.
    """
    report = Report(versions=machine.versions())
    mend = Mend(on=fix, confirm=confirm)
    rt.says_where = False
    if _is_unreadable(rt, report):
        return report
    for name, check in CHECKS.items():
        if report.failure is not None and name in REMOTE:
            continue  # each would wait as long for nothing
        report.looked += 1
        try:
            for one in check(rt, mend=mend):
                report.seen.append(one) if isinstance(one, Seen) else report.findings.append(one)
        except (ConfigurationError, RemoteError) as error:
            report.failure = report.failure or error
            why = "nothing there could be compared with what is here"
            report.findings.append(Finding(name, error.message, why, contradiction=False, next=error.hint))
        except FindableError as error:
            why = "this could not be looked at"
            report.findings.append(Finding(name, error.message, why, next=error.hint))
    return report


def _is_unreadable(rt: Runtime, report: Report) -> bool:
    """Check the database itself first; where its rows cannot be trusted, nothing else is looked at."""
    report.looked += 1
    report.findings += accounts.check_database(rt)
    return bool(report.findings)


def check_people(rt: Runtime, *, mend: Mend) -> Iterator[Finding]:
    """Do scores follow from the rows, and tags from the answers that were applied?"""
    wrong: dict[str, list[str]] = {SCORES: [], TAGS: [], TEXT: []}
    with rt.store.read() as tx, rt.display.bar("checking people", table.count(tx), late=True) as bar:
        applied = answers.standing(tx, table.TASK)
        for number, row in enumerate(table.everyone(tx), start=1):
            for kind in _wrong(row, applied.pop(str(row["id"]), None)):
                wrong[kind].append(text_of(row["username"]))
            bar.show(number)
    if wrong[SCORES]:
        mended = _rescore(rt) if mend.on else ""
        why = "whoever sorts by it sees a wrong order"
        yield Finding("people", f"{SCORES}: {_some(wrong[SCORES])}", why, mendable=True, mended=mended)
    for kind, why in WHY.items():
        if wrong[kind]:
            yield Finding("people", f"{kind}: {_some(wrong[kind])}", why, contradiction=False, next=NEXT[kind])
    if applied:
        yield _orphans(rt, sorted(applied), mend=mend)


def _orphans(rt: Runtime, ids: list[str], *, mend: Mend) -> Finding:
    """Return the finding about answers without a row: another program deleted it, and what was asked stays here."""
    mended = ""
    if mend.may(
        f"Remove what is left of {len(ids)} people whose rows are gone: answers, lines in sealed files, vectors?"
    ):
        with rt.waited_lease(preparing.LEASE, waiting=preparing.WAITING) as lease:
            forgetting.drop_lines(rt, table.TASK, ids, words=())
            with rt.store.write() as tx:
                lease.check(tx)
                for one in ids:
                    erasing.erase(tx, table.TASK, one, words=())
        forgetting.drop_vectors(rt)
        mended = "removed; make index builds an index without them"
    said = f"{len(ids)} answers belong to people who are not there any more"
    why = "another program deleted their rows; what was asked about them is still kept"
    return Finding("people", said, why, contradiction=False, mendable=True, mended=mended)


def _wrong(row: Mapping[Any, Any], answer: str | None) -> Iterator[str]:
    """Yield what is wrong with one row of `experts`."""
    if score(row) != number_of(row["findability_score"]):
        yield SCORES
    if answer is not None and tags_of(row["tags"]) != json.loads(answer).get("tags"):
        yield TAGS
    if any(GAP in text_of(row[column]) for column in ("username", *table.INPUT_COLUMNS)):
        yield TEXT


def _rescore(rt: Runtime) -> str:
    """Bring every score up to date."""
    with rt.store.write() as tx:
        changed = table.rescore(tx)
        workspace.touch(tx)
    return f"wrote {changed} scores"


def _some(names: list[str]) -> str:
    """Return how many people these are, with the first of them."""
    more = "" if len(names) <= EXAMPLES else ", …"
    return f"{len(names)} ({', '.join(names[:EXAMPLES])}{more})"


CHECKS: dict[str, Check] = {
    "versions": machine.check_versions,
    "disk": machine.check_disk,
    "batches": accounts.check_batches,
    "loose rows": accounts.check_loose,
    "claims": accounts.check_claims,
    "calls": asked.check_calls,
    "usage": asked.check_usage,
    "request files": sealed.check_requests,
    "result files": sealed.check_results,
    "litter": sealed.check_litter,
    "people": check_people,
    "rows": subjects.check_rows,
    "tasks": subjects.check_tasks,
    "pilots": subjects.check_pilots,
    "reports": subjects.check_reports,
    "index": indexed.check_index,
    "links": indexed.check_links,
    "staging": indexed.check_staging,
    "vectors": indexed.check_vectors,
    "forgotten": accounts.check_forgotten,
    "rolled back": withdrawn.check_withdrawn,
    "leases": accounts.check_leases,
    "models": remote.check_models,
    "backend": remote.check_remote,
    "uploads": remote.check_uploads,
}
REMOTE = frozenset({"models", "backend", "uploads"})
