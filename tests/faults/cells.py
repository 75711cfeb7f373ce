"""The fault matrix as a table: which fault, at which endpoint of which command, and what must be so afterwards.

A cell is a command at a stage, one fault, and the facts that must hold when the command is over. The rows for the
faults that may strike anywhere are written once for each class of faults: what matters is what a client can know.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from tests.faults import words
from tests.faults.ground import ALWAYS, DEAD, PEOPLE, Facts, Script
from tests.faults.words import Words, plain, without

START = ("POST", r"^/upload/[^?]*$")
PIECE = ("POST", r"upload_id=")
CREATE = ("POST", r":batchGenerateContent$")
LIST = ("GET", r"/batches(\?|$)")
GET = ("GET", r"/batches/[^/:?]+$")
DOWNLOAD = ("GET", r":download")
DELETE = ("DELETE", r"/files/")
CANCEL = ("POST", r":cancel$")
EMBED = ("POST", r":batchEmbedContents$")
GENERATE = ("POST", r":generateContent$")

SENT = Facts(("submitted",), claimed=PEOPLE, creates=1, remote=1)
HOME = replace(SENT, states=("downloaded",))
BACK = Facts(("prepared",), claimed=PEOPLE)
UNCLEAR = Facts(("submitting",), claimed=PEOPLE)

DOUBTFUL = {"drop", "reset", "html_200", "empty_200", "redirect", "lost_reply", "success_code"}

Endpoint = tuple[str, str]


@dataclass(frozen=True)
class Cell:
    """One fault and one command; `stage` names what was done before, `before` are faults that strike then."""

    command: tuple[str, ...]
    at: str
    fault: Script
    code: int
    facts: Facts
    stage: str = ""
    before: tuple[Script, ...] = ()
    says: str = ""
    values: dict[str, str] = field(default_factory=dict)
    live: int | None = 1  # batches at the API that were not cancelled, once all is done

    def __str__(self) -> str:
        """Return the cell's name."""
        return f"{self.command[0]} at {self.at}: {self.fault}"


def each(table: Words, endpoint: Endpoint, *, always: bool = False) -> Iterator[Script]:
    """Yield a script for every word of a class."""
    method, path = endpoint
    for word, args in table if not always else words.without(table, "slow_reply"):  # a transfer has ten times as long
        yield Script(word, args, method, path, times=ALWAYS if always else 1)


def _cells(  # noqa: PLR0917 - the columns of a table
    command: str, at: str, endpoint: Endpoint, table: Words, code: int, facts: Facts, **more: object
) -> Iterator[Cell]:
    """Yield the cells of one row of the table: a class of faults at an endpoint."""
    always = bool(more.pop("always", False))
    name, *args = command.split(" ")
    for script in each(table, endpoint, always=always):
        yield Cell((name, *args), at, script, code, facts, **more)  # type: ignore[arg-type]  # columns by name


def submit() -> Iterator[Cell]:
    """Yield what meets a submit that begins from nothing."""
    for at, endpoint in (("the start of an upload", START), ("a piece of an upload", PIECE)):
        row = ("batch-submit", at, endpoint)
        yield from _cells(*row, words.PASSING, 0, SENT)
        yield from _cells(*row, words.SLOW, 4, BACK, always=True)
        yield from _cells(*row, words.LASTING, 4, BACK, always=True)
        yield from _cells(*row, words.DAILY, 4, BACK, says="UTC")
        yield from _cells(*row, words.REFUSED, 4, BACK)
        yield from _cells(*row, words.KEY, 3, BACK, says="GEMINI_API_KEY")
        yield from _cells(*row, words.GONE, 3, BACK)
    yield from _creates()
    yield from _uploads()


def _creates() -> Iterator[Cell]:
    """Yield what meets the one call that must not be repeated."""
    row = ("batch-submit", "create", CREATE)
    undone = plain("hang") + words.BROKEN
    done = without(words.SLOW, "hang") + words.LOST
    again = replace(SENT, creates=2)
    yield from _cells(*row, undone, 0, again)
    yield from _cells(*row, done + plain("no_name", "foreign_name"), 0, SENT, says="found again")
    yield from _cells(*row, words.HARMLESS + words.SKEWED, 0, SENT)
    thrice = replace(UNCLEAR, creates=3)
    yield from _cells(*row, undone, 4, thrice, always=True, says="3 create calls")
    yield from _cells(*row, done, 0, SENT, always=True, says="found again")
    once = replace(BACK, creates=1)
    yield from _cells(*row, words.THROTTLED + plain("quota_batch") + words.REFUSED, 4, once)
    yield from _cells(*row, words.DAILY, 4, once, says="UTC")
    yield from _cells(*row, words.KEY, 3, once, says="GEMINI_API_KEY")
    yield from _cells(*row, words.GONE, 3, once)
    yield from _cells(*row, (("clock_jump", {"seconds": 49 * 3600}),), 3, once, says="access the File")
    yield Cell(
        ("batch-submit",),
        "create",
        Script("bad_line", {"line": 2}, *CREATE),
        0,
        Facts(("failed", "submitted"), claimed=PEOPLE - 1, charged=1, creates=2, remote=1),
        live=2,
    )
    yield Cell(("batch-submit",), "create", Script("duplicate_batch", {}, *CREATE), 0, replace(SENT, remote=2), live=2)


def _uploads() -> Iterator[Cell]:
    """Yield what can be wrong with an upload that looks well."""
    row = ("batch-submit", "an upload")
    yield from _cells(*row, START, plain("no_upload_url"), 0, SENT)
    lost = plain("drop_chunk", "reset_chunk", "chunk_status", "chunk_lost", "file_failed")
    yield from _cells(*row, PIECE, lost + words.SKEWED, 0, SENT)
    yield from _cells(*row, START, plain("mime_refused"), 4, BACK, says="MIME")
    yield from _cells(*row, PIECE, plain("mime_refused_final"), 4, BACK, says="MIME")
    yield from _cells(*row, PIECE, lost, 4, BACK, always=True)
    yield from _cells(*row, PIECE, plain("file_expired"), 3, replace(BACK, creates=1), says="access the File")


def unclear() -> Iterator[Cell]:
    """Yield what meets the look for a create whose reply was lost: the whole remote list, and nothing but it."""
    lost = (Script("create_lost_reply"),)
    row = ("batch-submit", "the list, after a lost create", LIST)
    transient = words.PASSING + words.SKEWED
    yield from _cells(*row, transient + words.REFUSED, 0, SENT, before=lost, says="found again")
    still = replace(UNCLEAR, creates=1, remote=1)
    yield from _cells(*row, words.SLOW, 4, still, before=lost, always=True)
    yield from _cells(*row, words.LASTING, 4, still, before=lost, always=True)
    yield from _cells(*row, words.DAILY, 4, still, before=lost)
    yield from _cells(*row, words.KEY + words.GONE, 3, still, before=lost)
    yield from _cells(*row, plain("page_circle"), 4, still, before=lost, always=True)


def poll() -> Iterator[Cell]:
    """Yield what meets a poll: looks, the download, and the deletion of what is needed no more."""
    row = ("batch-poll", "a look", GET)
    yield from _cells(*row, words.PASSING + words.SKEWED, 0, HOME, stage="submitted")
    yield from _cells(*row, words.SLOW, 4, SENT, stage="submitted", always=True)
    yield from _cells(*row, words.LASTING, 4, SENT, stage="submitted", always=True)
    yield from _cells(*row, words.DAILY, 4, SENT, stage="submitted", says="UTC")
    yield from _cells(*row, words.REFUSED, 4, SENT, stage="submitted")
    yield from _cells(*row, words.KEY, 3, SENT, stage="submitted", says="GEMINI_API_KEY")
    yield from _cells(*row, words.GONE, 3, SENT, stage="submitted", says="claims kept")
    odd = plain("unknown_state", "missing_state", "no_output_yet", "get_status")
    yield from _cells(*row, odd, 0, HOME, stage="submitted")
    yield from _cells(*row, plain("batch_vanishes"), 3, SENT, stage="submitted", says="claims kept")
    yield from _downloads()
    row = ("batch-poll", "the deletion of an upload", DELETE)
    every = words.SLOW + words.LASTING + words.DAILY + words.REFUSED + words.KEY
    yield from _cells(*row, every, 0, HOME, stage="submitted", always=True)
    yield from _cells(*row, words.GONE + words.HARMLESS, 0, HOME, stage="submitted")


def _downloads() -> Iterator[Cell]:
    """Yield what meets a download."""
    row = ("batch-poll", "a download", DOWNLOAD)
    broken = plain("cut_with_length", "reset_download", "download_status")
    passing = words.PASSING + broken + plain("cut_without_length")
    yield from _cells(*row, passing, 0, HOME, stage="submitted")
    yield from _cells(*row, words.SLOW, 4, SENT, stage="submitted", always=True)
    lasting = tuple(word for word in words.LASTING if word[0] != "empty_200")  # sealed as it is: test_batch_poll
    yield from _cells(*row, lasting + broken, 4, SENT, stage="submitted", always=True)
    yield from _cells(*row, words.DAILY, 4, SENT, stage="submitted", says="UTC")
    yield from _cells(*row, words.REFUSED, 4, SENT, stage="submitted")
    yield from _cells(*row, words.KEY, 3, SENT, stage="submitted")
    yield from _cells(*row, words.GONE, 3, SENT, stage="submitted")


def embeds() -> Iterator[Cell]:
    """Yield what meets the calls that embed: by an index, and by a search."""
    spoilt = plain("vectors_short", "vectors_wrong_dimension", "vectors_nan")
    transient = words.PASSING + spoilt + plain("vectors_not_unit")
    forever = words.LASTING + spoilt
    for command, tagged in (("index", PEOPLE + 1), ("search bees", PEOPLE)):
        served = Facts(("ingested",), tagged=tagged)
        row = (command, "a call that embeds", EMBED)
        yield from _cells(*row, transient, 0, served, stage="served")
        yield from _cells(*row, forever, 4, served, stage="served", always=True)
        yield from _cells(*row, words.SLOW, 4, served, stage="served", always=True)
        yield from _cells(*row, words.DAILY, 4, served, stage="served", says="UTC")
        yield from _cells(*row, words.REFUSED, 4, served, stage="served")
        yield from _cells(*row, words.KEY + words.GONE, 3, served, stage="served")


def adds() -> Iterator[Cell]:
    """Yield what meets the live call of a person who is added: saved whatever happens, tagged where it can be."""
    row = ("add-expert newcomer.json", "the live call", GENERATE)
    tagged, saved = Facts(tagged=1), Facts()
    content = plain("max_tokens", "max_tokens_empty", "prompt_blocked", "safety", "recitation", "no_candidates")
    judged = (*content, *plain("unknown_finish", "schema_mismatch", "markdown_fence"), ("answer_text", {"text": "{}"}))
    # an answer of another shape is an answer all the same: that is about the one who was asked about
    unread = ("wrong_shape",)
    doubtful = words.SLOW + tuple(one for one in words.BROKEN + words.LOST if one[0] in DOUBTFUL)
    passing = tuple(one for one in words.PASSING if one not in doubtful)
    yield from _cells(*row, without(passing, *unread), 0, tagged, live=None)
    # it may have been answered, and paid: who waits at a screen is not asked about again
    yield from _cells(*row, doubtful, 0, saved, says="is due again", live=None)
    yield from _cells(*row, words.SLOW, 0, saved, always=True, says="is due again", live=None)
    lasting = without(words.LASTING, *unread)
    yield from _cells(*row, lasting, 0, saved, always=True, says="is due again", live=None)
    clear = words.DAILY + words.REFUSED + words.KEY + words.GONE
    yield from _cells(*row, clear, 0, saved, says="is due again", live=None)
    yield from _cells(*row, (*judged, *plain(*unread)), 0, Facts(charged=1), says="is due again", live=None)
    yield from _cells(*row, plain("other_model", "no_usage"), 0, tagged, live=None)


def lives() -> Iterator[Cell]:
    """Yield what meets the first call of a run that asks live: asked again, or left for the next run."""
    row = ("tag-live", "a live call", GENERATE)
    tagged, untouched, failed_once = Facts(tagged=PEOPLE), Facts(), Facts(tagged=PEOPLE, charged=1)
    content = plain("max_tokens", "max_tokens_empty", "prompt_blocked", "safety", "recitation", "no_candidates")
    # an answer of another shape is an answer all the same: that is about the one who was asked about
    judged = (
        *content,
        *plain("unknown_finish", "schema_mismatch", "wrong_shape", "markdown_fence"),
        ("answer_text", {"text": "{}"}),
    )
    yield from _cells(*row, without(words.PASSING, "wrong_shape"), 0, tagged, live=None)
    yield from _cells(*row, plain("other_model", "no_usage"), 0, tagged, live=None)
    yield from _cells(*row, (*judged, ("status", {"code": 413})), 0, failed_once, live=None)
    lasting = words.SLOW + without(words.LASTING, "wrong_shape")
    yield from _cells(*row, lasting, 4, untouched, always=True, live=None)
    yield from _cells(*row, words.REFUSED, 4, untouched, always=True, live=None)
    yield from _cells(*row, words.DAILY, 4, untouched, says="UTC", live=None)
    yield from _cells(*row, words.KEY, 3, untouched, says="GEMINI_API_KEY", live=None)
    yield from _cells(*row, words.GONE, 3, untouched, live=None)


def tries() -> Iterator[Cell]:
    """Yield what meets a call of a trial: whatever comes is shown, and nothing is stored, charged or claimed."""
    row = ("try --n 2", "a call of a trial", GENERATE)
    untouched = Facts()
    judged = plain("max_tokens", "prompt_blocked", "no_candidates", "schema_mismatch", "wrong_shape", "markdown_fence")
    yield from _cells(*row, words.PASSING + plain("other_model", "no_usage"), 0, untouched, live=None)
    yield from _cells(*row, judged, 0, untouched, live=None)
    lasting = words.SLOW + without(words.LASTING, "wrong_shape")
    yield from _cells(*row, lasting, 4, untouched, always=True, live=None)
    yield from _cells(*row, words.DAILY, 4, untouched, says="UTC", live=None)
    yield from _cells(*row, words.KEY, 3, untouched, says="GEMINI_API_KEY", live=None)
    yield from _cells(*row, words.GONE, 3, untouched, live=None)


def cancels() -> Iterator[Cell]:
    """Yield what meets a cancel: the look before it, and the call itself."""
    for at, endpoint in (("the look before it", GET), ("the cancel", CANCEL)):
        row = ("batch-cancel 1", at, endpoint)
        yield from _cells(*row, words.PASSING, 0, SENT, stage="running")
        yield from _cells(*row, words.SLOW, 4, SENT, stage="running", always=True)
        # the answer to a cancel says nothing, so that another one which is JSON, or none, cannot be told from it
        believed = ("empty_200", "wrong_shape") if endpoint == CANCEL else ()
        yield from _cells(*row, without(words.LASTING, *believed), 4, SENT, stage="running", always=True)
        yield from _cells(*row, plain(*believed), 0, SENT, stage="running", always=True)
        yield from _cells(*row, words.DAILY + words.REFUSED, 4, SENT, stage="running")
        yield from _cells(*row, words.KEY, 3, SENT, stage="running")
        yield from _cells(*row, words.GONE, 2, SENT, stage="running", says="not confirmed")
    yield from _cells("batch-cancel 1", "the cancel", CANCEL, plain("cancel_ignored"), 0, SENT, stage="running")


def doctors() -> Iterator[Cell]:
    """Yield what meets the part of doctor that asks the server: nothing changes, and the code tells of the server."""
    for at, endpoint in (("the list", LIST), ("a look", GET)):
        row = ("doctor", at, endpoint)
        yield from _cells(*row, words.PASSING, 0, SENT, stage="submitted")
        yield from _cells(*row, words.SLOW, 4, SENT, stage="submitted", always=True)
        yield from _cells(*row, words.LASTING, 4, SENT, stage="submitted", always=True)
        yield from _cells(*row, words.DAILY, 4, SENT, stage="submitted")
        yield from _cells(*row, words.KEY, 3, SENT, stage="submitted")
    yield from _cells("doctor", "a look", GET, words.GONE, 5, SENT, stage="submitted")


def unreachable() -> Iterator[Cell]:
    """Yield what meets every command whose server is not there: nothing was sent, and nothing is changed."""
    nowhere = {"GOOGLE_GEMINI_BASE_URL": DEAD}
    stopped = Script("refused connection", times=ALWAYS)
    served = Facts(("ingested",), tagged=PEOPLE)
    for command, stage, code, facts in (
        ("batch-submit", "", 4, BACK),
        ("batch-submit", "unclear", 4, replace(UNCLEAR, creates=1, remote=1)),
        ("batch-poll", "submitted", 4, SENT),
        ("batch-poll", "unclear", 4, replace(UNCLEAR, creates=1, remote=1)),
        ("batch-ingest", "submitted", 0, SENT),
        ("batch-cancel 1", "running", 4, SENT),
        ("add-expert newcomer.json", "", 0, Facts()),
        ("tag-live", "", 4, Facts()),
        ("index", "served", 4, replace(served, tagged=PEOPLE + 1)),
        ("search bees", "served", 4, served),
        ("doctor", "submitted", 4, SENT),
        ("status", "submitted", 0, SENT),
        ("batches", "submitted", 0, SENT),
    ):
        live = None if command.startswith(("add-expert", "tag-live")) else 1
        says = "cannot connect" if code else ""
        yield Cell(
            tuple(command.split(" ")), f"a server that is not there ({stage})", stopped, code, facts, stage,
            says=says, values=nowhere, live=live,
        )  # fmt: skip


def every() -> list[Cell]:
    """Return all cells, each with a name of its own."""
    found = [
        *submit(),
        *unclear(),
        *poll(),
        *embeds(),
        *adds(),
        *lives(),
        *tries(),
        *cancels(),
        *doctors(),
        *unreachable(),
    ]
    return list({str(cell): cell for cell in found}.values())
