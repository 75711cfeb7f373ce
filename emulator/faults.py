"""Scripted faults: what was asked for, which request or line each one hits, and whether it was used up.

A fault is a word with arguments. Its `match` says which requests it is about, `nth` and `times` which of those it
hits. The words are data: `fault_words` has all of them, `reply_faults`, `document_faults` and
`line_faults` the functions behind them. Where a word strikes is its place: the reply, an upload, a file, a batch at
its create, the document of a good reply, a line of a result file, or a result file as a whole.
"""

import hashlib
import re
import secrets
import threading
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from emulator.errors import invalid


@dataclass(frozen=True)
class Word:
    """One kind of fault: its id in the wire notes, where it strikes, and which requests it is about by default."""

    code: str
    place: str
    act: Callable[..., Any] | None = None
    method: str = ""
    path: str = ""


CREATE = r":(batchGenerateContent|asyncBatchEmbedContent)$"
ONE_BATCH = r"/batches/[^/:?]+$"


def words(place: str, method: str, path: str, **acts: tuple[str, Callable[..., Any] | None]) -> dict[str, Word]:
    """Return words that strike at one place and by default the same requests, each given by its id and what it does."""
    return {name: Word(code, place, act, method, path) for name, (code, act) in acts.items()}


@dataclass
class Fault:
    """One scripted fault and how often it met a match, was handed to a batch, and struck."""

    id: str
    script: str
    word: str
    code: str
    place: str
    act: Callable[..., Any] | None
    method: str
    path: re.Pattern[str]
    key: re.Pattern[str]
    nth: int
    times: int | None
    args: Mapping[str, Any]
    seen: int = 0
    attached: int = 0
    fired: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def matches(self, place: str, method: str, *, target: str) -> bool:
        """Tell whether the fault strikes at `place` and is about this request (`target` is path and query)."""
        return place == self.place and self.method in ("", method) and self.path.search(target) is not None

    def fire(self) -> bool:
        """Count one match and tell whether the fault strikes here."""
        with self.lock:
            self.seen += 1
            strikes = self.seen >= self.nth and (self.times is None or self.fired < self.times)
            self.fired += strikes
            return strikes

    def attach(self) -> None:
        """Count one batch whose result file the fault will strike."""
        with self.lock:
            self.attached += 1

    @property
    def used_up(self) -> bool:
        """Whether the fault struck as often as it was told to; at least once where no number was given."""
        return self.fired >= (1 if self.times is None else self.times)

    def recipe(self) -> dict[str, Any]:
        """Return what another host needs to strike in this one's place."""
        return {
            "id": self.id,
            "fault": self.word,
            "key": self.key.pattern,
            "nth": self.nth,
            "times": self.times,
            "args": dict(self.args),
        }

    def document(self) -> dict[str, Any]:
        """Return the fault as a control call shows it."""
        return {
            **self.recipe(),
            "script": self.script,
            "code": self.code,
            "place": self.place,
            "match": {"method": self.method, "path": self.path.pattern, "key": self.key.pattern},
            "seen": self.seen,
            "attached": self.attached,
            "fired": self.fired,
            "used_up": self.used_up,
        }


class Faults:
    """The faults scripted on this host, in the order they were."""

    def __init__(self, words: Mapping[str, Word]) -> None:
        """Know `words`; nothing is scripted yet."""
        self._words = words
        self._faults: list[Fault] = []
        self._lock = threading.Lock()

    def script(self, documents: Sequence[object]) -> tuple[str, list[str]]:
        """Add faults and return the id of the script and of each fault in it; all are added or none.

        Raises:
            ApiError: 400 for an unknown word or a member of the wrong kind.
        """
        script = f"s{secrets.token_hex(4)}"  # unlike any other host's, for a batch carries it from one to the next
        faults = [self.make(document, script=script, number=n) for n, document in enumerate(documents, start=1)]
        with self._lock:
            self._faults += faults
        return script, [fault.id for fault in faults]

    def make(self, document: object, *, script: str = "", number: int = 0) -> Fault:
        """Return the fault that a document describes.

        Raises:
            ApiError: 400 as `script`.
        """
        if not isinstance(document, Mapping):
            raise invalid(f"a fault is an object, found {document!r}")
        word = self._words.get(str(document.get("fault")))
        if word is None:
            raise invalid(f"unknown fault {document.get('fault')!r}; there are {', '.join(sorted(self._words))}")
        unknown = set(document) - {"id", "fault", "match", "key", "nth", "times", "args"}
        if unknown:
            raise invalid(f"unknown members of a fault: {', '.join(sorted(unknown))}")
        match = document.get("match") or {}
        many = word.place in ("line", "whole")
        try:
            return Fault(
                id=str(document.get("id") or f"{script}.{number}"),
                script=script,
                word=str(document["fault"]),
                code=word.code,
                place=word.place,
                act=word.act,
                method=match.get("method", word.method),
                path=pattern(str(match.get("path", word.path))),
                key=pattern(str(match.get("key", document.get("key", "")))),
                nth=int(document.get("nth", 1)),
                times=None if (times := document.get("times", None if many else 1)) is None else int(times),
                args=dict(document.get("args") or {}),
            )
        except (re.error, TypeError, ValueError, AttributeError) as error:
            raise invalid(f"fault {document['fault']!r}: {error}") from error

    def matching(self, place: str, method: str, *, target: str) -> list[Fault]:
        """Return the faults that are about this request, in the order they were scripted; none is counted yet."""
        with self._lock:
            return [fault for fault in self._faults if fault.matches(place, method, target=target)]

    def firing(self, place: str, method: str, *, target: str) -> list[Fault]:
        """Return those of `matching` that strike now, each counted."""
        return [fault for fault in self.matching(place, method, target=target) if fault.fire()]

    def by_recipe(self, recipe: Mapping[str, Any]) -> Fault:
        """Return the fault a batch carries: this host's own, or a fresh one where another host scripted it."""
        with self._lock:
            own = [fault for fault in self._faults if fault.id == recipe["id"] and fault.word == recipe["fault"]]
        return own[0] if own else self.make(recipe)

    def document(self) -> dict[str, Any]:
        """Return all faults as a control call shows them, and whether every one was used up."""
        with self._lock:
            shown = [fault.document() for fault in self._faults]
        return {"faults": shown, "used_up": all(fault["used_up"] for fault in shown)}

    def clear(self) -> None:
        """Forget every fault; batches that carry one keep it."""
        with self._lock:
            self._faults.clear()


def pattern(text: str) -> re.Pattern[str]:
    """Return a scripted regular expression, without the warning that a later Python may read it otherwise.

    Raises:
        re.error: it is none.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return re.compile(text)


def in_share(key: str, *, fraction: float, seed: int) -> bool:
    """Tell whether a key is among the `fraction` of all keys that the seed picks; the same key always is."""
    digest = hashlib.blake2b(f"{seed}:{key}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") < fraction * 2**64


def without(document: Mapping[str, Any], member: str) -> dict[str, Any]:
    """Return a document without one member."""
    return {name: value for name, value in document.items() if name != member}
