"""Write the quality reports of a command that asks in rounds, but not too often."""

from pipeline.engine.session import WorkspaceSession
from pipeline.quality import evaluate, pilot
from pipeline.store import runs
from pipeline.workflows.tag_report import TagReport

# The next quality reports wait this many times as long as the last ones took. The reports at the
# end of the command do not wait.
REPORT_PAUSE_FACTOR = 20
WAIVED_PILOT_NOTE = "Asked without a passed pilot, because a person waived it."


class QualityReporter:
    """Writes quality reports on new answers, and collects them for the report of the command."""

    def __init__(self, ws: WorkspaceSession, report: TagReport, *, is_enabled: bool) -> None:
        """Begin without new answers.

        Args:
            ws: The workspace.
            report: The report of the command, which gets the quality reports.
            is_enabled: Write reports at all.
        """
        self._ws = ws
        self._report = report
        self.is_enabled = is_enabled
        # Monotonic time before which no further quality report is written.
        self._next_report_at_s = 0.0
        # Extractors with answers since their last quality report; the keys are ordered.
        self._unreported_versions: dict[str, None] = {}

    def note_answers(self, version: str) -> None:
        """Note that a version has new answers, so that the next `write` makes a report about it."""
        self._unreported_versions[version] = None

    def write(self, *, is_last: bool) -> None:
        """Write the quality report of each version with new answers.

        Does nothing if reports are off, if there are no new answers, or if the previous reports are
        too recent. A report is hopeless if its answers miss a gate (a bound on a quality figure) by
        far, on enough rows. If the task needs pilots and a report is hopeless, a failed pilot is
        recorded, which blocks further rows of the version. If that is the version in use,
        `is_hopeless` is set in the command's report, and the command sends no more rows.

        Args:
            is_last: Write the reports however recent the previous reports are.
        """
        ws = self._ws
        started_at_s = ws.monotonic()
        if not self.is_enabled or not self._unreported_versions:
            return
        if started_at_s < self._next_report_at_s and not is_last:
            return

        for version in self._unreported_versions:
            newest_pilot = ws.store.query(runs.find_newest_pilot, version, must_be_ended=True)
            has_no_verdict = (
                newest_pilot is None or newest_pilot.verdict is runs.PilotVerdict.WAIVED
            )
            notes = [WAIVED_PILOT_NOTE] if ws.task.needs_pilot and has_no_verdict else []
            quality = evaluate.write_report(ws, version=version, notes=notes)
            if quality is None:
                continue

            is_hopeless = pilot.block_if_hopeless(
                ws.store,
                ws.task,
                data=ws.data,
                quality=quality,
                now=ws.now,
            )
            if is_hopeless and version == ws.version:
                self._report.is_hopeless = True
            self._report.quality_reports[version] = quality

        self._unreported_versions = {}
        ended_at_s = ws.monotonic()
        self._next_report_at_s = ended_at_s + REPORT_PAUSE_FACTOR * (ended_at_s - started_at_s)
