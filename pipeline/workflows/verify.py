"""Meet the API once, for a few cents at most, and tell what it does where its documentation leaves that open.

Five invented rows go by batch, live and by flex, and one text is embedded. What that may cost is kept as a batch of the
way *trial* before anything is sent. What is made there bears this workspace's name: a run ends and deletes what the one
before it left. The report names no key, project or file, and of an error the code alone: it is made to be sent on.
"""

import asyncio
import contextlib
import math
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

from pipeline.batch import budget, folder
from pipeline.core import __version__, files
from pipeline.core.errors import InputError, NotSentError, RefusedError, RemoteError
from pipeline.core.states import STANDARD, Way
from pipeline.core.step import Step
from pipeline.engine.workspace import OpenWorkspace
from pipeline.gemini import requests, responses
from pipeline.gemini.models import NO_USAGE, Usage, estimate_tokens, usage_cost
from pipeline.quality.report import seal_report
from pipeline.store import batches, money, workspace

NAME = "verify-gemini"  # no task of one's own has a dash in its name
MOST_USD = 0.05
MOST_TOKENS = 256  # of an answer with its thoughts, which each is estimated to use
LONGEST_LAG_S = 300.0  # ours: so long a new batch is looked for in the list
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
FORM = {"type": "OBJECT", "properties": {"verdict": VERDICT}, "required": ["verdict"]}


def check(document: dict[str, Any]) -> None:
    """Pass where findable can work with all that was found.

    Raises:
        RemoteError: it cannot.
    """
    if wrong := [one["what"] for one in document["facts"] if not one["fits"]]:
        said = f"findable cannot work with what was found: {', '.join(wrong)}"
        raise RemoteError(said, hint="run it again later; the report holds nothing secret, and can be sent")


def run(ws: OpenWorkspace) -> tuple[dict[str, Any], Path]:
    """Look at everything, end what was made there, and return the report, and where it stands as Markdown and JSON.

    Raises:
        InputError: it was not confirmed, or may cost more than $0.05; nothing was sent.
        BudgetError: a budget has no room for it; nothing was sent.
        RemoteError: the key is refused, or the API cannot be reached at all.
    """
    ws.tells_backend = ws.backend == "local"  # of the user's own nothing leaves this machine
    visit = _Visit(ws)
    if visit.most > MOST_USD:
        said = f"with {ws.model.name} this may cost ${visit.most:.2f}, more than ${MOST_USD:.2f}; nothing was sent"
        raise InputError(said, hint=f"set FINDABLE_MODEL to a cheaper one: `{Step('prices')}` lists them")
    if visit.most:
        ws.display.say(f"{ws.model.name} is asked for at most ${visit.most:.2f}")
        ws.spend(visit.most, nothing="nothing was sent", always=True)
    with ws.lock(NAME), tempfile.TemporaryDirectory() as made:
        folder.seal_dead(ws)
        visit.end_earlier()
        with visit.accounted():
            visit.look_at_all(Path(made))
    document = visit.document()
    return document, seal_report(ws.data, NAME, at=ws.now(), markdown=_markdown(document), document=document)


class _Visit:
    """One run: what was found, what was paid, and what may have been paid for without a reply."""

    def __init__(self, ws: OpenWorkspace) -> None:
        """Write the requests, and estimate what they may cost at the most."""
        form = requests.Form(FORM, ws.model.thinking)
        prompts = [requests.Prompt(SYSTEM, [{"text": text}], MOST_TOKENS) for text in ROWS]
        filled = [form.fill(f"{NAME}/{at}", one) for at, one in enumerate(prompts, start=1)]
        self._ws, self._client, self._lines = ws, ws.client, [line for line, _ in filled]
        usage = sum((each for _, each in filled), NO_USAGE)._replace(answer=MOST_TOKENS * len(ROWS), thoughts=0)
        ways = [Way.BATCH, Way.LIVE, *[Way.FLEX] * ws.model.flex]
        self._usage, self._requests = Usage(*(len(ways) * one for one in usage)), len(ways) * len(ROWS)
        self.most = self._cost([(usage, one.tier) for one in ways])
        with ws.store.read() as tx:
            self._prefix = f"{NAME}-{workspace.get_workspace(tx).workspace_id}-"
        self._facts, self._paid = list[dict[str, Any]](), list[tuple[Usage, str]]()
        self._calls = self._number = 0  # requests that may have been paid for; the number of the trial
        self._lag = self._sent = 0.0
        self._batch, self._made = "", dict[str, str]()  # its name; the display names of what was made there

    def _cost(self, paid: list[tuple[Usage, str]]) -> float:
        ws, on = self._ws, self._ws.now().date()
        embedded = usage_cost(ws.embedding_model, Usage(estimate_tokens(ROWS[0])), STANDARD, on=on)
        return sum((usage_cost(ws.model, usage, tier, on=on) for usage, tier in paid), embedded)

    def end_earlier(self) -> None:
        """End and delete what a run left at the API that was killed, and say what it may have cost."""
        left = {one.name: one.display_name for one in self._client.list_batches()} | self._client.list_uploads()
        left |= self._made  # where the list lags
        prefix, display = self._prefix, self._ws.display
        ours = {name: shown.removeprefix(prefix) for name, shown in left.items() if shown.startswith(prefix)}
        for name in ours:
            self._delete(name)
        if ours and not self._number:
            with self._ws.store.read() as tx:
                known = {str(one.number): one for one in batches.batches_in_states(tx, task=NAME)}
            lost = sum(money.batch_spent(known[one]).lost for one in {*ours.values()} & known.keys())
            display.say(f"what a run that was killed left is deleted, and ${lost:.4f} of it may have been paid")

    def _delete(self, name: str) -> None:
        try:
            if name.startswith("batches/"):
                with contextlib.suppress(RefusedError):  # it is over
                    self._client.cancel_batch(name)
            self._client.delete(name)
            self._made.pop(name, None)
        except RemoteError as error:
            self._ws.display.warn(f"{name} could not be deleted; the next run tries again: {error.message}")

    @contextlib.contextmanager
    def accounted(self) -> Iterator[None]:
        """Keep what a block may cost before it, and what it did cost after it; what is left at the API is ended."""
        ws, model = self._ws, self._ws.model
        with contextlib.ExitStack() as after:
            with ws.store.write() as tx:
                self._number = number = batches.next_number(tx)
                path = folder.request_path(ws.data, number)
                file = files.seal_bytes(path, b"\n".join(self._lines))
                after.callback(path.unlink, missing_ok=True)
                if held := ws.locks.take(folder.lock_of(number)):  # nobody else knows the number
                    after.callback(held.release)
                values: dict[str, Any] = {"number": number, "task": NAME, "extractor": f"{NAME}@1/{model.name}"}
                values |= {"model": model.name, "priced_on": model.priced_on.isoformat(), "estimated_cost": self.most}
                values |= {"request_file": str(path.relative_to(ws.data)), "request_sha256": file.sha256}
                values |= {"request_size": file.size, "requests": self._requests, "calls": self._requests}
                values |= {"estimated_in": self._usage.prompt, "estimated_out": self._usage.answer}
                batches.add_batch(tx, way=Way.TRIAL, at=ws.now(), **values)
                budget.budgets(ws).check(tx, batches.get_batch(tx, number))
            after.callback(self._account)
            yield

    def _account(self) -> None:
        with contextlib.suppress(RemoteError):  # the next run ends what is left
            self.end_earlier()
        count, used = len(self._paid), sum((usage for usage, _ in self._paid), NO_USAGE)
        account = {"answered": count, "missing": self._requests - count, "calls": self._calls}
        account |= {"tokens_in": used.prompt, "tokens_out": used.answer + used.thoughts}
        with self._ws.store.write() as tx:
            batch, cost = batches.get_batch(tx, self._number), self._cost(self._paid)
            batches.mark_ingested(tx, batch, at=self._ws.now(), cost=cost, **account)

    def look_at_all(self, made: Path) -> None:
        """Look at everything, while the batch is under way."""
        self._look("models", self._models)
        self._look("a batch", lambda: self._created(made / "batch.jsonl"))
        if self._batch:
            self._look("a new batch in the list", self._listed)
        self._look("live", lambda: self._asked(STANDARD))
        if self._ws.model.flex:
            self._look("flex", lambda: self._asked(Way.FLEX.tier), needs=False)
        wanted: dict[str, Any] = {"dim": self._ws.settings.dim, "query": False}
        embed = partial(self._client.embed, self._ws.embedding_model, ROWS[:1], **wanted)
        self._look("a vector", lambda: (f"of {embed().shape[1]} numbers", True))
        if self._batch:
            self._look("the batch", lambda: self._over(made / "result.jsonl"))

    def _look(self, what: str, look: Callable[[], tuple[str, bool]], *, needs: bool = True) -> None:
        try:
            found, fits = look()
        except RemoteError as error:
            self._ws.display.warn(f"{what}: {error.message}")
            found, fits = f"failed ({_code(error)})", False
        self._tell(what, found, fits or not needs)

    def _tell(self, what: str, found: str, fits: bool) -> None:  # noqa: FBT001 - of a fact
        self._facts.append({"what": what, "found": found, "fits": fits})
        self._ws.display.say(f"{what}: {found}")

    def _models(self) -> tuple[str, bool]:
        names = self._client.list_models()
        lacking = [one.name for one in (self._ws.model, self._ws.embedding_model) if one.name not in names]
        return f"{len(names)}" + f", without {' and '.join(lacking)}" * bool(lacking), not lacking

    def _created(self, path: Path) -> tuple[str, bool]:
        file, name = files.seal_bytes(path, b"\n".join(self._lines) + b"\n"), f"{self._prefix}{self._number}"
        upload = self._client.upload(path, display_name=name, sha256=file.sha256, size=file.size)
        self._made[upload] = name
        self._calls += len(ROWS)
        try:
            made = self._client.create_batch(self._ws.model.name, file_name=upload, display_name=name).name
        except (RefusedError, NotSentError):
            self._calls -= len(ROWS)
            raise
        self._made[made] = name
        self._batch, self._sent = made, self._ws.monotonic()
        return f"is created, of {len(ROWS)} requests", True

    def _listed(self) -> tuple[str, bool]:
        ws = self._ws
        while is_late := all(one.name != self._batch for one in self._client.list_batches()):
            self._lag = ws.monotonic() - self._sent
            if self._lag > LONGEST_LAG_S:
                break
            ws.sleep(ws.settings.poll_first)
        if not self._lag:
            return "at once", True
        self._lag = ws.monotonic() - self._sent
        with ws.store.write() as tx:
            workspace.record_event(tx, workspace.LAG, NAME, old=None, new=f"{self._lag:.3f}", why="seen", at=ws.now())
        is_unmet = "list_lag" in ws.settings.sources and self._lag > ws.settings.list_lag
        more = f", and LIST_LAG is set to {ws.settings.list_lag:g} s" * is_unmet
        return f"{'not ' * is_late}after {self._lag:.1f} s{more}", not (is_late or is_unmet)

    def _asked(self, tier: str) -> tuple[str, bool]:
        ws, told, seconds = self._ws, Counter[str](), list[float]()

        async def ask(line: bytes) -> None:
            began = ws.monotonic()
            try:
                document = await self._client.generate(ws.model.name, requests.object_of(line), tier=tier)
            except RemoteError as error:
                self._calls -= isinstance(error, RefusedError | NotSentError) or error.code in SHED
                told[f"{'shed' if error.code in SHED else 'failed'} ({_code(error)})"] += 1
                return
            seconds.append(ws.monotonic() - began)
            reply, usage = responses.judge_response(document), document.get("usageMetadata") or {}
            self._paid.append((reply.usage, reply.tier or tier))
            word = usage.get("serviceTier") or usage.get("trafficType")
            told[f"served as {responses.excerpt_of(word)}" if word else "served, by which tier is not told"] += 1

        async def ask_all() -> None:
            await asyncio.gather(*map(ask, self._lines))

        self._calls += len(ROWS)
        asyncio.run(ask_all())
        took = f", in {min(seconds):.1f} to {max(seconds):.1f} s" if seconds else ""
        return ", ".join(f"{count} {word}" for word, count in sorted(told.items())) + took, bool(seconds)

    def _over(self, path: Path) -> tuple[str, bool]:
        """Wait for the batch and look at its result."""
        ws, pause = self._ws, self._ws.settings.poll_first
        ws.display.say(f"waiting for the batch, {LONGEST_BATCH_S / 60:.0f} minutes at the most; Ctrl-C ends it")
        while not (one := self._client.get_batch(self._batch)).state.is_over:
            if ws.monotonic() - self._sent > LONGEST_BATCH_S:
                return f"is not over after {LONGEST_BATCH_S / 60:.0f} minutes", False
            ws.sleep(pause)
            pause = min(2 * pause, ws.settings.poll_most)
        took = f"{one.state} after {math.ceil(ws.monotonic() - self._sent)} s"
        if one.result_file is None:
            return f"{took}, without a result", False
        self._client.download(one.result_file, path)
        lines = [line for _, line in files.read_lines(path)]
        self._paid += [(responses.judge_line(line).usage, Way.BATCH.tier) for line in lines]
        asked, came = (sorted(str(responses.key_of_line(line)) for line in some) for some in (self._lines, lines))
        self._tell("keys of the result", "each once" if asked == came else "not those that were sent", asked == came)
        counts = f"its counts are {one.requests} requests, {one.succeeded} succeeded, {one.failed} failed"
        return f"{took}; {counts if one.requests is not None else 'it has no counts'}", True

    def document(self) -> dict[str, Any]:
        """Return what was found for programs."""
        ws, python = self._ws, sys.version.split()[0]
        server = "another server than Google's" if ws.settings.base_url else "Gemini"
        whose = "the local engine, which tells nothing of Gemini" if ws.backend == "local" else server
        versions = f"findable {__version__}, google-genai {metadata.version('google-genai')}, Python {python}"
        found = {"at": f"{ws.now():%Y-%m-%d %H:%M} UTC", "of": whose, "versions": versions}
        found |= {"models": f"{ws.model.name}, {ws.embedding_model.name}"}
        return {
            **found,
            "list_lag": round(self._lag, 3),
            "cost": round(self._cost(self._paid), 6),
            "facts": self._facts,
        }


def _code(error: RemoteError) -> str:
    return " ".join(str(one) for one in (error.code, error.status) if one) or type(error).__name__


def _markdown(document: dict[str, Any]) -> str:
    about = [f"- {name}: {value}" for name, value in document.items() if name != "facts"]
    rows = [f"| {one['what']} | {one['found']} | {'yes' if one['fits'] else 'no'} |" for one in document["facts"]]
    return "\n".join(["# What the API does", "", *about, "", "| | found | fits |", "| --- | --- | --- |", *rows, ""])
