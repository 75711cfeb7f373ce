"""The command `status`: open rows, batches, index and money of a workspace.

- A row is doubtful if a confidence is below FINDABLE_DOUBTFUL and nobody looked at its answer.
- A duplicate batch is a second batch at Gemini that has the requests of a batch of ours.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

from jobs.command import should_print_json
from jobs.document_output import format_counts, format_fields, format_figures
from jobs.options import CommandReport, Parameter
from jobs.output import Output
from pipeline.core.command_hint import CommandHint
from pipeline.core.states import is_unsupported
from pipeline.core.text import format_usd, join_first, plural
from pipeline.engine.session import WorkspaceSession
from pipeline.ops import status as task_status

MIN_NAME_WIDTH = 11
MAX_DUE_LINES = 5
# The output of `status --more` fits one page: at most this many lines of open batches, of reasons,
# and of duplicate batches.
MAX_OPEN_BATCH_LINES = 10
MAX_REASON_LINES = 20
MAX_DUPLICATE_BATCH_LINES = 5


def status(
    ws: WorkspaceSession,
    *,
    exact: Annotated[
        bool,
        Parameter("Compare the index with all rows, to find changes by other programs."),
    ] = False,
    more: Annotated[
        bool,
        Parameter("Add failures by reason, batches, the model and the version."),
    ] = False,
) -> CommandReport:
    """Show rows by state, open batches, cost (USD), the index, and the next command.

    Changes by other programs to indexed rows are found only by --exact, `index` and `work`.

    Rows of a large table of another program are counted from time to time; the time of the count is
    printed.
    """
    report = task_status.read_status(ws, exact=exact)
    named_lines = _status_lines(report, has_details=more)
    width = max(MIN_NAME_WIDTH, *(len(name) + 1 for name, _ in named_lines))
    output: Output = [f"{name:<{width}}{text}" for name, text in named_lines]
    return CommandReport(report.document, output, hint=report.next_command)


def read_next_command(ws: WorkspaceSession) -> CommandHint | None:
    """Return the next command for the user; None if there is none, or with `--json`.

    Only people read it.
    """
    if should_print_json():
        return None
    return task_status.read_status(ws).next_command


def _status_lines(
    report: task_status.StatusReport,
    *,
    has_details: bool,
) -> list[tuple[str, str]]:
    """Return the lines of `status` in order, as (name, text).

    Workspace, rows and cost are always there. Each other line is left out if there is nothing to
    say. At most MAX_OPEN_BATCH_LINES open batches and the newest
    MAX_DUPLICATE_BATCH_LINES duplicate batches are listed.

    Args:
        has_details: Add the lines of `status --more`.
    """
    document: dict[str, Any] = report.document
    engine = "local engine" if document["backend"] == "local" else document["model"]
    lines = [
        ("workspace", f"{document['workspace']}, {engine}"),
        (report.subject, _format_states(document, report.subject)),
    ]
    lines += [
        (name, format_member(document[member]))
        for name, member, format_member in MEMBER_LINES
        if member in document
    ]
    lines += _limit_lines(
        "under way",
        report.open_batch_lines,
        MAX_OPEN_BATCH_LINES,
        list_command=CommandHint("batches"),
    )
    lines.append(("spent", _format_spent(document["spent"])))
    if document["index"] is not None:
        lines.append(("index", _format_index(document["index"], report.entry_noun)))
    if has_details:
        lines += _detail_lines(document, report.version)

    lines += [
        ("twice", _format_duplicate_batch(batch))
        for batch in document.get("twins", ())[-MAX_DUPLICATE_BATCH_LINES:]
    ]
    other_tasks = document["others"]
    if other_tasks:
        status_command = CommandHint("status", task=other_tasks[0])
        lines.append(("others", f"{', '.join(other_tasks)}: `{status_command}`"))
    failures = document.get("failures")
    if failures:
        # `status --more` lists all reasons.
        first_reason = dict(list(failures["reasons"].items())[:1])
        failed = {**failures, "reasons": first_reason}
        lines.append(("failed", format_fields(failed, "rows reasons gates report")))
    if report.next_command is None:
        lines.append(("next", "nothing to do"))
    return lines


def _format_duplicate_batch(batch: Mapping[str, Any]) -> str:
    """Return the remote name of a duplicate batch, its batch, and whether it still runs.

    The remote batch of a batch that was cancelled or given up is recorded as its duplicate, too, if
    it runs or succeeded.
    """
    relation = "belongs to the cancelled or given-up" if batch["is_own"] else "is a duplicate of"
    state = "cancelled or over"
    if not batch["is_over"]:
        state = f"not cancelled yet: `{CommandHint('batch-poll')}` cancels it"
    return f"{batch['remote_name']} {relation} batch {batch['batch']}, {state}"


def _limit_lines(
    name: str,
    lines: Sequence[str],
    max_lines: int,
    *,
    list_command: CommandHint,
) -> list[tuple[str, str]]:
    """Return at most `max_lines` lines under a name.

    If there are more lines, another line says how many and the command that lists them.
    """
    named_lines = [(name, line) for line in lines[:max_lines]]
    if len(lines) > max_lines:
        named_lines.append((name, f"{len(lines) - max_lines:,} more: `{list_command}`"))
    return named_lines


def _detail_lines(document: Mapping[str, Any], version: str) -> list[tuple[str, str]]:
    """Return the lines that `status --more` adds, as (name, text).

    They are reasons of failures (at most MAX_REASON_LINES), the number of batches by state, rows
    that wait to be asked again because their call failed (the MAX_DUE_LINES newest), the models,
    and the version under which open rows are asked, with its pilot.
    """
    failure_reasons = document.get("failures", {}).get("reasons", {})
    reasons = [f"failed {count:,}: {reason}" for reason, count in failure_reasons.items()]
    # Rows whose text supports no answer have not failed. The reasons of failures include all other
    # parked rows.
    reasons += [
        f"parked {count:,}: {reason}"
        for reason, count in document["parked"].items()
        if is_unsupported(reason)
    ]
    lines = _limit_lines("reason", reasons, MAX_REASON_LINES, list_command=CommandHint("parked"))

    lines.append(("batches", format_counts(document["batches"]) or "none"))

    lines += [
        ("due", format_fields(retry, "row=name since reason"))
        for retry in document["due"][-MAX_DUE_LINES:]
    ]

    usage = "" if document["bound"] else " (not used yet)"
    lines.append(("model", f"{document['model']}, backend {document['backend']}{usage}"))
    lines.append(("version", version))
    for name, member_names in (
        ("index", "model numbers_per_vector=dim build"),
        ("pilot", "number drawn=size verdict report"),
    ):
        text = format_fields(document[name], member_names) if document.get(name) else ""
        if text:
            lines.append((name, text))
    return lines


def _format_stale(stale: Mapping[str, Any]) -> str:
    """Return the numbers of rows that changed, and of rows that are to be asked again."""
    counts = {
        "changed after the answer": stale["count"] - stale["marked"],
        "to ask again": stale["marked"],
    }
    return f"{format_counts(counts)}; {stale['hint']}"


def _format_doubtful(doubtful: Mapping[str, Any]) -> str:
    """Return the number of doubtful rows among those with confidences, and how to list them."""
    text = f"{doubtful['count']:,} of {plural(doubtful['answered'], 'row')} with confidences"
    hint = f"; `{doubtful['hint']}`" if doubtful["hint"] else ""
    return f"{text} (below {doubtful['below']:g}){hint}"


def _format_states(document: Mapping[str, Any], subject: str) -> str:
    """Return the number of all rows, then the number in each state that has rows, as a text.

    Rows that left their source are at the end. States have the names that `items` takes, and it
    lists as many rows.

    Args:
        document: The document of `status`.
        subject: The member of the document with the counts. Its first member counts all rows, and
            each other a state.
    """
    (_, total), *state_counts = document[subject].items()
    counts = dict(state_counts) | {"gone from the source": document["gone"]}
    return f"{total:,}: {format_counts(counts) or 'none'}"


def _format_index(index: Mapping[str, Any], entry_noun: str) -> str:
    """Return the number of index entries, whether they are up to date, and refused texts.

    Vectors of another embedding model than that of the settings are named. If the index cannot be
    read, the text has the problem instead. An index without entries is "none". Refused texts are
    those that the embedding model did not accept; their rows are named.

    Args:
        index: The member `index` of the document of `status`.
        entry_noun: Singular noun for an entry.
    """
    if "problem" in index:
        return f"broken: {index['problem']}"
    if not index["count"]:
        return "none"
    state = "up to date"
    if index["behind"]:
        state = f"behind by {index['behind']:,} (only changed texts are embedded)"
    if index["model_differs"]:
        state += f"; its vectors are of {index['model']} ({index['dim']}), not as in the settings"
    refused_names = [refused["name"] for refused in index.get("refused", ())]
    if refused_names:
        state += f"; the embedding model refused the texts of {join_first(refused_names)}"
    return f"{plural(index['count'], entry_noun)}, {state}"


def _format_spent(spent: Mapping[str, float]) -> str:
    """Return the text about the cost in USD until now, for people.

    It has the known cost, the estimate for running requests, and the cost that may be lost on
    requests whose replies were lost. An estimate of 0 is left out.

    Args:
        spent: USD by kind. `actual` is the known cost. `estimated` is the estimate for running
            requests and lost replies together. `lost` is the part of `estimated` for lost replies.
    """
    estimates = {
        "under_way": max(0.0, spent["estimated"] - spent["lost"]),
        "lost": spent["lost"],
    }
    parts = [format_usd(spent["actual"]), format_figures(estimates, "under_way perhaps_lost=lost")]
    return ", ".join(filter(None, parts))


# Lines about optional members of the document: the name, the member, and the function that returns
# the text of its value. They follow the counts of rows.
MEMBER_LINES: tuple[tuple[str, str, Callable[[Any], str]], ...] = (
    ("task file", "task_file", "{}; correct it before rows are asked".format),
    ("task file", "file_version", "declares {} now; earlier answers stay".format),
    ("source", "source_changed", "{} changed since it was read".format),
    ("stale", "stale", _format_stale),
    ("doubtful", "doubtful", _format_doubtful),
)
