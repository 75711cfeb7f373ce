"""Check the workspace against itself and the backend; with FIX=1 mend what loses nothing, and ask for the rest.

Every check reads whole files and asks about every batch, so this is for a quiet moment and not for a loop. Without
`fix` nothing is changed.
"""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from itertools import chain
from typing import Any

from pipeline.core.errors import ConfigurationError, FindableError, InconsistentError, RemoteError
from pipeline.engine.workspace import OpenWorkspace
from pipeline.ops.checks import index, machine, rows, tasks
from pipeline.ops.checks.files import FileChecks
from pipeline.ops.checks.finding import CheckFinding, LookedAt, Mend
from pipeline.ops.checks.index import IndexChecks
from pipeline.ops.checks.remote import RemoteChecks
from pipeline.ops.checks.tasks import SubjectChecks

Found = Iterator[CheckFinding | LookedAt]
REMOTE = frozenset({"models", "backend", "uploads"})


@dataclass
class DoctorReport:
    """What was found, in the order of the checks, how many checks there were, and which rows were looked at."""

    looked: int = 0
    findings: list[CheckFinding] = field(default_factory=list)
    seen: list[LookedAt] = field(default_factory=list)
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


def document(report: DoctorReport) -> dict[str, Any]:
    """Return the report for programs."""
    return {
        "healthy": report.healthy,
        "checks": report.looked,
        "rows": {one.subject: one.figures for one in report.seen},
        "findings": [{**asdict(finding), "next": finding.remedy} for finding in report.findings],
        "versions": report.versions,
    }


def run(ws: OpenWorkspace, *, fix: bool, confirm: Callable[[str], bool]) -> DoctorReport:
    """Run every check, one after the other; a check that cannot be carried out is a finding.

    With `fix` what loses nothing is mended, and `confirm` is asked for the rest.
    """
    report = DoctorReport(looked=1, versions=machine.versions())
    ws.tells_backend = False
    report.findings += rows.check_database(ws.store)
    if report.findings:  # where rows cannot be trusted, nothing else is looked at
        return report
    for name, found in _checks(ws, Mend(on=fix, confirm=confirm)).items():
        if report.failure is not None and name in REMOTE:
            continue  # each would wait as long for nothing
        report.looked += 1
        try:
            for one in found:
                report.seen.append(one) if isinstance(one, LookedAt) else report.findings.append(one)
        except (ConfigurationError, RemoteError) as error:
            report.failure = report.failure or error
            why = "nothing there could be compared with what is here"
            report.findings.append(CheckFinding(name, error.message, why, contradiction=False, next=error.hint))
        except FindableError as error:
            why = "this could not be looked at"
            report.findings.append(CheckFinding(name, error.message, why, next=error.hint))
    return report


def _checks(ws: OpenWorkspace, mend: Mend) -> dict[str, Found]:
    """Return every check by its name, in their order; a check looks when its findings are asked for."""
    store, data, subjects = ws.store, ws.data, ws.subjects
    sealed, written = FileChecks(ws, mend), SubjectChecks(ws, mend)
    backend, unknown = RemoteChecks(ws, mend), set[int]()
    indexes = [IndexChecks(ws, mend, one) for one in ws.collections]
    return {
        "versions": machine.check_versions(),
        "disk": machine.check_disk(data, store.path),
        "batches": rows.check_batches(store),
        "loose rows": rows.check_loose(store, mend),
        "claims": rows.check_claims(store, mend, now=ws.now),
        "calls": rows.check_calls(store, mend, now=ws.now),
        "request files": sealed.request_files(),
        "result files": sealed.result_files(),
        "people": written.derived(),
        "rows": tasks.check_rows(store, subjects),
        "tasks": tasks.check_tasks(store, subjects),
        "task files": tasks.check_task_files(subjects),
        "pilots": tasks.check_pilots(store, data, subjects),
        "reports": tasks.check_reports(data, subjects, mend),
        "index": chain.from_iterable(one.build_in_service() for one in indexes),
        "links": chain.from_iterable(one.stable_links() for one in indexes),
        "staging": chain(*(one.staging() for one in indexes), index.check_left_folders(ws, mend)),
        "vectors": index.check_vectors(ws, mend),
        "forgotten": rows.check_forgotten(store),
        "rolled back": written.retired(),
        "leases": rows.check_leases(store, mend, now=ws.now, longest_s=ws.settings.lease + ws.settings.call_timeout),
        "models": backend.models(),
        "backend": backend.remote_batches(unknown),
        "litter": sealed.unknown_files(unknown),  # after the look at what the backend has
        "uploads": backend.leftover_uploads(),
    }
