"""Check the workspace against itself and the backend; mend, where told to, what can be mended without loss.

Reads whole files and asks about every batch, so it is for a quiet moment and not for a loop. Without `fix` nothing is
changed.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pipeline.checks import accounts, indexed, remote, sealed
from pipeline.checks.finding import Check, Finding
from pipeline.errors import ConfigurationError, FindableError, InconsistentError, RemoteError
from pipeline.experts import table
from pipeline.experts.cells import number_of, tags_of, text_of
from pipeline.experts.score import score
from pipeline.runtime import Runtime
from pipeline.store import answers, workspace

SCORES = "scores that do not follow from their row"
TAGS = "tags that another program changed after they were written"
TEXT = "text that is no UTF-8, read with gaps"
GAP = "\N{REPLACEMENT CHARACTER}"
EXAMPLES = 3


@dataclass
class Report:
    """What was found, in the order of the checks, and how many checks there were."""

    looked: int = 0
    findings: list[Finding] = field(default_factory=list)

    @property
    def healthy(self) -> bool:
        """True when no contradiction stands."""
        return not any(finding.is_open for finding in self.findings)

    def check(self) -> None:
        """Pass when no contradiction stands.

        Raises:
            InconsistentError: one does; what was mended stays mended.
        """
        still = [finding for finding in self.findings if finding.is_open]
        if still:
            can = any(finding.mendable for finding in still)
            hint = next((finding.next for finding in still if finding.next), "")
            raise InconsistentError(
                f"{len(still)} of the findings contradict what is stored and were not mended",
                hint="`make doctor FIX=1` mends what can be mended without loss" if can else hint,
            )


def run(rt: Runtime, *, fix: bool) -> Report:
    """Run every check, one after the other; a check that cannot be carried out is a finding."""
    report = Report()
    if _is_unreadable(rt, report):
        return report
    for name, check in CHECKS.items():
        report.looked += 1
        try:
            report.findings += check(rt, fix=fix)
        except FindableError as error:
            wrong = not isinstance(error, ConfigurationError | RemoteError)
            report.findings.append(Finding(name, error.message, contradiction=wrong, next=error.hint))
    return report


def _is_unreadable(rt: Runtime, report: Report) -> bool:
    """Check the database itself first; where its rows cannot be trusted, nothing else is looked at."""
    report.looked += 1
    report.findings += accounts.check_database(rt)
    return bool(report.findings)


def check_people(rt: Runtime, *, fix: bool) -> Iterator[Finding]:
    """Do scores follow from the rows, and tags from the answers that were applied?"""
    wrong: dict[str, list[str]] = {SCORES: [], TAGS: [], TEXT: []}
    with rt.store.read() as tx:
        applied = answers.standing(tx, rt.task.name)
        for row in table.everyone(tx):
            for kind in _wrong(row, applied.pop(str(row["id"]), None)):
                wrong[kind].append(text_of(row["username"]))
    if wrong[SCORES]:
        mended = _rescore(rt) if fix else ""
        yield Finding("people", f"{SCORES}: {_some(wrong[SCORES])}", mendable=True, mended=mended)
    for kind in (TAGS, TEXT):
        if wrong[kind]:
            yield Finding("people", f"{kind}: {_some(wrong[kind])}", contradiction=False)
    if applied:
        said = f"{len(applied)} answers belong to people who are not there any more"
        yield Finding("people", said, contradiction=False)


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
    "batches": accounts.check_batches,
    "claims": accounts.check_claims,
    "request files": sealed.check_requests,
    "result files": sealed.check_results,
    "litter": sealed.check_litter,
    "people": check_people,
    "index": indexed.check_index,
    "links": indexed.check_links,
    "staging": indexed.check_staging,
    "vectors": indexed.check_vectors,
    "leases": accounts.check_leases,
    "backend": remote.check_remote,
}
