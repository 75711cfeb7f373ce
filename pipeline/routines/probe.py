"""Five items both ways before the rest, from the first line to the verdict; where it stops, the next run goes on."""

from dataclasses import dataclass
from typing import Any

from pipeline import probing
from pipeline.errors import GateError
from pipeline.runtime import Runtime
from pipeline.states import BatchState
from pipeline.steps import batch_poll
from pipeline.store import batches, probes
from pipeline.store.probes import Probe, Verdict
from pipeline.workflows import ingest


@dataclass(frozen=True)
class Report:
    """A probe as it stands, and how its batch was polled, if it was."""

    probe: Probe
    polled: batch_poll.Report | None = None

    @property
    def is_over(self) -> bool:
        """Return whether there is a verdict."""
        return self.probe.verdict is not None


def run(rt: Runtime, *, wait: bool, anew: bool = True) -> Report:
    """Go on with the probe that is under way, or begin one; the verdict is there once its batch is over.

    Where it is not to be had `anew`, one that passed before stands for this one.

    Raises:
        InputError: nobody is left to probe with, or no money.
        RemoteError, ConfigurationError: what stopped it; the next run goes on.
    """
    if not anew and (before := _standing(rt)) is not None:
        return Report(before)
    number = probing.begin(rt)
    probing.ask(rt, number)
    polled = None
    if _state(rt, number) in (BatchState.SUBMITTING, BatchState.SUBMITTED):
        polled = batch_poll.run(rt, wait=wait, only=number)
    probe = probing.settle(rt, number)
    if _state(rt, number) is BatchState.DOWNLOADED:
        ingest.run(rt)
    return Report(probe, polled)


def go_on(rt: Runtime) -> Report | None:
    """Go on with the probe that is under way, without waiting; None where there is none."""
    return run(rt, wait=False) if probing.under_way(rt) is not None else None


def check(report: Report) -> None:
    """Make sure that a probe did not fail.

    Raises:
        GateError: the batch's answers do not validate; no more batches are prepared.
    """
    if report.probe.verdict is Verdict.FAILED:
        raise GateError(
            f"the probe failed: answers of batch {report.probe.batch} do not validate; no more batches are prepared",
            hint="PROBE=1 tries again, PROBE=0 does without; `tag` with MODE=live asks live",
        )


def document(report: Report) -> dict[str, Any]:
    """Return a probe for programs; the verdict is null while its batch is not over."""
    found = report.probe.report or {}
    return {
        "batch": report.probe.batch,
        "verdict": report.probe.verdict,
        "compared": found.get("compared", 0),
        "valid": found.get("valid", 0),
        "lines": found.get("lines", []),
    }


def _standing(rt: Runtime) -> Probe | None:
    """Return the newest probe of the extractor in use, where it passed or a person does without it."""
    with rt.store.read() as tx:
        found = probes.newest(tx, rt.extractor)
    return found if found is not None and found.verdict in (Verdict.PASSED, Verdict.WAIVED) else None


def _state(rt: Runtime, number: int) -> BatchState:
    """Return where a batch stands."""
    with rt.store.read() as tx:
        return batches.get(tx, number).state
