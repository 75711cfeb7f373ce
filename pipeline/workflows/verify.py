"""Meet the API once, for a few cents at most, and tell what it does where its documentation leaves that open.

Five invented rows go by batch, live and by flex, and one text is embedded. What it may cost is kept as a batch of the
way *trial* before anything is sent. What is made there bears this workspace's name or is noted with that batch, so
that a run which was killed is cleared up after by the next one. The report names no key, project or file: it is made to
be sent to others, so of an error it tells the code and not the words.
"""

import asyncio
import contextlib
import math
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pipeline.batch import budget, folder
from pipeline.core import __version__, files
from pipeline.core.errors import InputError, MissingError, NotSentError, RefusedError, RemoteError
from pipeline.core.states import STANDARD, Way
from pipeline.engine.workspace import OpenWorkspace
from pipeline.gemini import requests, responses
from pipeline.gemini.client import API_VERSION
from pipeline.gemini.models import NO_USAGE, Usage, estimate_tokens, usage_cost
from pipeline.quality.report import seal_report
from pipeline.store import batches, money, workspace

if TYPE_CHECKING:
    from pipeline.gemini.remote import RemoteBatch
    from pipeline.store.locks import Lock

TASK = "verify-gemini"  # no task of one's own has a dash in its name
MOST_USD = 0.05
MOST_TOKENS = 256  # of an answer with its thoughts; each is estimated to use all of them
LONGEST_LAG_S = 300.0  # ours: for so long a new batch is looked for in the list
LONGEST_BATCH_S = 1_800.0  # ours: a batch that is not over by then is cancelled
SHED = (429, 503)  # HTTP's own numbers
ROWS = (
    "The kettle boils quickly and has not leaked in a year.",
    "Der Henkel brach am zweiten Tag, und niemand antwortete.",
    "Une lampe simple, solide, et agréable à l'œil.",
    "The manual is for another machine; two screws were missing.",
    "Warm, light, and it dries overnight. I bought a second one.",
)
SYSTEM = "You judge a review of a product. Answer with one word, whether it is praise or blame."
VERDICT = {"type": "STRING", "enum": ["praise", "blame"]}
SCHEMA = {"type": "OBJECT", "properties": {"verdict": VERDICT}, "required": ["verdict"]}


class Fact(NamedTuple):
    """What was looked at, what was found, and whether findable can work with that."""

    what: str
    found: str
    fits: bool = True


class VerifyReport(NamedTuple):
    """What was found, as a document too; the path of its Markdown, and what else a person should know."""

    facts: list[Fact]
    document: dict[str, Any]
    path: Path

    def check(self) -> None:
        """Pass where findable can work with all that was found.

        Raises:
            RemoteError: it cannot.
        """
        wrong = [one.what for one in self.facts if not one.fits]
        if wrong:
            said = f"the API does otherwise than findable needs: {', '.join(wrong)}"
            raise RemoteError(said, hint=f"run it again later; the report in {self.path} may be sent to others")


def run(ws: OpenWorkspace, *, confirm: Callable[[float], bool]) -> VerifyReport:
    """Look at everything, end what was made there, and write the report; `confirm` gets the most it may cost, in USD.

    Raises:
        InputError: it was not confirmed, or may cost more than $0.05; nothing was sent.
        BudgetError: a budget has no room for it.
        RemoteError: the key is refused, or the API cannot be reached at all.
    """
    visit = _Visit(ws)
    if visit.estimate > MOST_USD:
        said = f"with {ws.model.name} this may cost ${visit.estimate:.2f}, more than ${MOST_USD:.2f}; nothing was sent"
        raise InputError(said, hint="set FINDABLE_MODEL to a cheaper one: `make prices` lists them")
    if visit.estimate and not confirm(visit.estimate):
        raise InputError("not confirmed; nothing was sent", hint="YES=1 answers yes")
    with ws.lock(TASK), tempfile.TemporaryDirectory() as made:
        folder.seal_dead(ws)
        visit.clear_up()
        with visit.accounted():
            visit.look_at_all(Path(made))
    at = ws.now()
    document = visit.document(at=f"{at:%Y-%m-%d %H:%M} UTC")
    path = seal_report(ws.data, TASK, at=at, markdown=_markdown(document), document=document)
    return VerifyReport(visit.facts, document, path)


@dataclass
class _Visit:
    """One run: what was found so far, what was paid, and what stands at the API because of it."""

    ws: OpenWorkspace
    facts: list[Fact] = field(default_factory=list)
    number: int = 0
    made: list[str] = field(default_factory=list)  # names of uploads and batches that are to be deleted
    paid: list[tuple[Usage, str]] = field(default_factory=list)  # of each reply: what it used, and who served it
    unclear: int = 0  # requests that may have been paid for, and brought no reply
    lag: float | None = None  # seconds
    remote: "RemoteBatch | None" = None
    sent: float = 0.0  # when it was created, by the monotonic clock

    def __post_init__(self) -> None:
        """Write the requests, and estimate what they may cost at the most."""
        form = requests.Form(SCHEMA, self.ws.model.thinking)
        prompts = [requests.Prompt(SYSTEM, [{"text": text}], MOST_TOKENS) for text in ROWS]
        filled = [form.fill(requests.request_key(TASK, str(at)), one) for at, one in enumerate(prompts, start=1)]
        self.lines, prompt = [line for line, _ in filled], sum(usage.prompt for _, usage in filled)
        ways = [*(Way.BATCH, Way.BATCH), Way.LIVE, *[Way.FLEX] * self.ws.model.flex]  # one batch more: of double keys
        most = Usage(prompt, MOST_TOKENS * len(ROWS))
        self.requests, self.tokens = len(ways) * len(ROWS), len(ways) * prompt
        self.estimate = self._cost([(most, one.tier) for one in ways])
        with self.ws.store.read() as tx:
            self.label = f"{TASK}-{workspace.get_workspace(tx).workspace_id}-"  # of all that runs of this name make

    def _cost(self, paid: list[tuple[Usage, str]]) -> float:
        on, embedded = self.ws.now().date(), Usage(estimate_tokens(ROWS[0]))
        answers = sum(usage_cost(self.ws.model, usage, tier, on=on) for usage, tier in paid)
        return answers + usage_cost(self.ws.embedding_model, embedded, STANDARD, on=on)

    # what is kept here

    @contextlib.contextmanager
    def accounted(self) -> Iterator[None]:
        """Keep what a block may cost before it, and what it did cost after; what it made at the API is ended."""
        lock = self._begin()
        try:
            yield
        finally:
            with contextlib.suppress(RemoteError):  # what is left stays noted
                self.clear_up()
            self._account()
            lock.release()

    def _begin(self) -> "Lock":
        ws, now, model = self.ws, self.ws.now(), self.ws.model
        with ws.store.write() as tx:
            self.number = batches.next_number(tx)
            lock = ws.locks.take(folder.lock_of(self.number))
            assert lock is not None  # noqa: S101 - no other process knows the number
            path = folder.request_path(ws.data, self.number)
            file = files.seal_bytes(path, b"".join(line + b"\n" for line in self.lines))
            about = {"task": TASK, "extractor": f"{TASK}@1/{model.name}", "model": model.name}
            kept = {"request_file": str(path.relative_to(ws.data)), "request_sha256": file.sha256}
            most = {"estimated_in": self.tokens, "estimated_out": self.requests * MOST_TOKENS}
            most |= {"requests": self.requests, "estimated_cost": self.estimate}
            batches.add_batch(
                tx,
                way=Way.TRIAL,
                at=now,
                number=self.number,
                request_size=file.size,
                priced_on=model.priced_on.isoformat(),
                **(about | kept | most),
            )
            budget.budgets(ws).check(tx, batches.get_batch(tx, self.number))
        return lock

    def _account(self) -> None:
        ws, used = self.ws, sum((usage for usage, _ in self.paid), NO_USAGE)
        replies = len(self.paid)
        with ws.store.write() as tx:
            batches.mark_ingested(
                tx,
                batches.get_batch(tx, self.number),
                at=ws.now(),
                answered=replies,
                missing=self.requests - replies,
                calls=replies + self.unclear,
                tokens_in=used.prompt,
                tokens_out=used.answer + used.thoughts,
                cost=self._cost(self.paid),
            )
        folder.request_path(ws.data, self.number).unlink(missing_ok=True)

    def _begin_asking(self, count: int) -> None:
        """Count requests as unclear, before they are sent: a killed run may have paid for them."""
        self.unclear += count
        with self.ws.store.write() as tx:
            batches.note(tx, self.number, calls=len(self.paid) + self.unclear)

    def _note(self, name: str) -> str:
        self.made.append(name)
        with self.ws.store.write() as tx:
            batches.note(tx, self.number, upload=" ".join(self.made))
        return name

    def clear_up(self) -> None:
        """End and delete what this run, or one that was killed, made at the API; what cannot be stays noted."""
        ws = self.ws
        with ws.store.read() as tx:
            noted = [one for one in batches.batches_in_states(tx, task=TASK) if one.upload]
        here = {one.name for one in ws.client.list_batches() if one.display_name.startswith(self.label)}
        known = {name: one.number for one in noted for name in (one.upload or "").split()}
        kept = [name for name in {**dict.fromkeys(here), **known} if not self._delete(name)]
        for one in noted:
            left = [name for name in (one.upload or "").split() if name in kept]
            with ws.store.write() as tx:
                batches.note(tx, one.number, upload=" ".join(left) or None)
        if not self.number and (here or known):
            lost = sum(money.batch_spent(one).lost for one in noted)
            ws.display.say(
                f"an earlier run was killed: what it left is deleted; it may have cost ${lost:.4f}, as counted"
            )

    def _delete(self, name: str) -> bool:
        client = self.ws.client
        try:
            if not name.startswith("files/"):
                with contextlib.suppress(RefusedError):  # it is over, or gone
                    client.cancel_batch(name)
            client.delete(name)
        except RemoteError as error:
            self.ws.display.warn(f"{name} could not be deleted, the next run tries again: {error.message}")
            return False
        return True

    # what is looked at

    def look_at_all(self, made: Path) -> None:
        """Look at everything, one after the other, while the batch is under way."""
        for version in (API_VERSION, "v1"):
            self._look(f"models at /{version}", lambda version=version: self._models(version), needs=version != "v1")
        self._look("a batch is created", lambda: self._created(made))
        if self.remote is not None:
            self._look("a new batch in the list", lambda: self._listed(self.remote.name))
            self._look("a key twice in a file", lambda: self._double(made), needs=False)
        self._look("live", lambda: self._asked(STANDARD))
        if self.ws.model.flex:
            self._look("flex", lambda: self._asked(Way.FLEX.tier), needs=False)
        self._look("embedding", self._embedded)
        if self.remote is not None:
            self._look("the batch", lambda: self._over(made / "result.jsonl"))

    def _look(self, what: str, look: Callable[[], tuple[str, bool]], *, needs: bool = True) -> None:
        try:
            found, fits = look()
        except RemoteError as error:
            self.ws.display.warn(f"{what}: {error.message}")
            found, fits = f"failed: {_code(error)}", False
        self._tell(what, found, fits=fits or not needs)

    def _tell(self, what: str, found: str, *, fits: bool = True) -> None:
        self.facts.append(Fact(what, found, fits))
        self.ws.display.say(f"{what}: {found}")

    def _models(self, version: str) -> tuple[str, bool]:
        names = self.ws.client.list_models(version)
        lacking = [one.name for one in (self.ws.model, self.ws.embedding_model) if one.name not in names]
        return f"{len(names)} are listed" + f", without {' and '.join(lacking)}" * bool(lacking), not lacking

    def _upload(self, path: Path, lines: list[bytes]) -> str:
        file = files.seal_bytes(path, b"".join(line + b"\n" for line in lines))
        label = f"{self.label}{self.number}"
        return self._note(self.ws.client.upload(path, display_name=label, sha256=file.sha256, size=file.size))

    def _create(self, path: Path, lines: list[bytes]) -> "RemoteBatch":
        ws, upload = self.ws, self._upload(path, lines)
        self._begin_asking(len(lines))
        try:
            remote = ws.client.create_batch(
                ws.model.name, file_name=upload, display_name=f"{self.label}{self.number}-{path.stem}"
            )
        except RemoteError as error:
            self.unclear -= len(lines) * _is_clear(error)
            raise
        self._note(remote.name)
        return remote

    def _created(self, made: Path) -> tuple[str, bool]:
        self.remote = self._create(made / "five.jsonl", self.lines)
        self.sent = self.ws.monotonic()
        return f"with {len(ROWS)} requests", True

    def _listed(self, name: str) -> tuple[str, bool]:
        ws, looks = self.ws, 0
        while all(one.name != name for one in ws.client.list_batches()):
            looks += 1
            if ws.monotonic() - self.sent > LONGEST_LAG_S:
                return f"not within {LONGEST_LAG_S:.0f} s", False
            ws.sleep(ws.settings.poll_first)
        self.lag = ws.monotonic() - self.sent if looks else 0.0
        return f"after {self.lag:.1f} s" if looks else "at once", True

    def _double(self, made: Path) -> tuple[str, bool]:
        try:
            remote = self._create(made / "double.jsonl", self.lines[:1] * 2)
        except RefusedError as error:
            return f"refused ({_code(error)})", True
        self._delete(remote.name)
        return "taken", True

    def _asked(self, tier: str) -> tuple[str, bool]:
        ws, told, seconds = self.ws, Counter[str](), list[float]()

        self._begin_asking(len(ROWS))

        async def ask(line: bytes) -> None:
            began = ws.monotonic()
            try:
                document = await ws.client.generate(ws.model.name, requests.object_of(line), tier=tier)
            except RemoteError as error:
                self.unclear -= _is_clear(error)
                told[f"shed ({_code(error)})" if error.code in SHED else f"failed ({_code(error)})"] += 1
                return
            seconds.append(ws.monotonic() - began)
            reply, usage = responses.judge_response(document), document.get("usageMetadata") or {}
            self.unclear -= 1
            self.paid.append((reply.usage, reply.tier or tier))
            word = responses.excerpt_of(usage.get("serviceTier") or usage.get("trafficType") or "")
            told[f"served as {word}" if word else "served, by which tier is not told"] += 1

        async def ask_all() -> None:
            await asyncio.gather(*(ask(line) for line in self.lines))

        asyncio.run(ask_all())
        took = f", in {min(seconds):.1f} to {max(seconds):.1f} s" if seconds else ""
        return ", ".join(f"{count} {word}" for word, count in sorted(told.items())) + took, bool(seconds)

    def _embedded(self) -> tuple[str, bool]:
        ws = self.ws
        found = ws.client.embed(ws.embedding_model, ROWS[:1], dim=ws.settings.dim, query=False)
        return f"{found.shape[1]} numbers", True

    def _over(self, path: Path) -> tuple[str, bool]:
        """Wait for the batch, and look at its result; then whether that outlives the batch."""
        ws, name = self.ws, self.remote.name if self.remote else ""
        pause = ws.settings.poll_first
        while not (remote := ws.client.get_batch(name)).state.is_over:
            if ws.monotonic() - self.sent > LONGEST_BATCH_S:
                return f"not over after {LONGEST_BATCH_S / 60:.0f} minutes, and cancelled", False
            ws.sleep(pause)
            pause = min(2 * pause, ws.settings.poll_most)
        took = f"{remote.state} after {math.ceil(ws.monotonic() - self.sent)} s"
        if remote.result_file is None:
            return f"{took}, without a result", False
        ws.client.download(remote.result_file, path)
        lines = [line for _, line in files.read_lines(path)]
        self.unclear -= len(ROWS)
        self.paid += [(responses.judge_line(line).usage, Way.BATCH.tier) for line in lines]
        asked, came = ([responses.key_of_line(line) for line in some] for some in (self.lines, lines))
        counts = (remote.requests, remote.succeeded, remote.failed)
        said = "none" if remote.requests is None else f"{counts[0]} requests, {counts[1]} succeeded, {counts[2]} failed"
        self._tell("counts of the batch", said)
        self._tell(
            "keys in the result",
            "all are back" if set(asked) == set(came) else "not those that were sent",
            fits=set(asked) == set(came),
        )
        self._tell("order of the result", "as it was asked" if asked == came else "another")
        self._tell("the result of a deleted batch", self._outlives(remote, path))
        return took, True

    def _outlives(self, remote: "RemoteBatch", path: Path) -> str:
        self._delete(remote.name)
        try:
            self.ws.client.download(remote.result_file or "", path)
        except MissingError:
            return "is gone, too"
        return "stays there, until Gemini deletes it"

    def document(self, *, at: str) -> dict[str, Any]:
        """Return what was found for programs."""
        ws = self.ws
        whose = "Gemini" if ws.settings.base_url is None else "another server than Google's"
        return {
            "at": at,
            "of": "the local engine, which says nothing of Gemini" if ws.backend == "local" else whose,
            "findable": __version__,
            "google-genai": metadata.version("google-genai"),
            "python": sys.version.split()[0],
            "model": ws.model.name,
            "embedding_model": ws.embedding_model.name,
            "list_lag": self.lag,
            "cost": self._cost(self.paid),
            "facts": [one._asdict() for one in self.facts],
        }


def _code(error: RemoteError) -> str:
    """Return what may be told to others of an error: no word of its message, which may name a project or a file."""
    return " ".join(str(one) for one in (error.code, error.status) if one) or type(error).__name__


def _is_clear(error: RemoteError) -> bool:
    """Return whether nothing was done, and so nothing paid for; of a create a 503 does not say that."""
    return isinstance(error, RefusedError | NotSentError) or error.code in SHED


def _markdown(document: dict[str, Any]) -> str:
    about = [f"- {name}: {value}" for name, value in document.items() if name != "facts"]
    rows = [f"| {one['what']} | {one['found']} | {'' if one['fits'] else 'no'} |" for one in document["facts"]]
    head = ["| what | found | fits |", "| --- | --- | --- |"]
    return "\n".join(["# What the API does", "", *about, "", *head, *rows, ""])
