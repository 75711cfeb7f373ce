"""Measure the answers of a task again, and write the report."""

from pipeline import reporting
from pipeline.errors import InputError
from pipeline.reporting import Report
from pipeline.runtime import Runtime


def run(rt: Runtime, *, extractor: str | None = None) -> Report | None:
    """Write the report on an extractor's answers, or on those of the task's label; None where there is nothing yet.

    The caller asks the report to `check` itself when it has been shown.

    Raises:
        InputError: there is nothing of an extractor that was named.
        ConfigurationError: GATES names a gate that there is not, or a bound that is none.
    """
    reporting.tidy(rt)
    report = reporting.write(rt, extractor=extractor)
    if report is None and extractor is not None:
        raise InputError(
            f"there is no answer of {extractor!r}; no report was written",
            hint="`make versions` lists whose answers there are",
        )
    return report
