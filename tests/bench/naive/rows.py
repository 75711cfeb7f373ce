"""What is done to rows, the naive way: the product's tables under an ORM, models for every line, no wait for the disk.

Request files: all people in memory, a tree of models for each, one long text, claims as ORM objects. Results: the file
in memory, nested models for each line, a session and a commit for each row. Scores: one long transaction.
"""

import hashlib
import json
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator
from pydantic.alias_generators import to_camel
from sqlalchemy import Engine, Table, create_engine, event, func, select
from sqlalchemy.orm import DeclarativeBase, Session

from pipeline.core.text import harmless
from pipeline.experts import schema
from pipeline.experts.prompts import CURRENT
from pipeline.experts.tags_rows import MAX_OUTPUT_TOKENS, PLACES
from pipeline.gemini.schema import response_schema
from pipeline.store import tables
from tests.bench.grounds import MODEL, PRICE_IN, PRICE_OUT, database
from tests.bench.measure import Said, Timed

TASK = "expert-tags"


def delimited(name: str, data: str) -> str:
    """Return data between tags of that name."""
    return f"<{name}>{harmless(data, names=tuple(PLACES))}</{name}>"


class Base(DeclarativeBase):
    """What the ORM's classes are made from, one for each table with the columns as they are."""


def _mapped(table: Table) -> Any:
    return type(table.name, (Base,), {"__table__": table})


Expert = _mapped(schema.experts)
Batch = _mapped(tables.batches)
Account = _mapped(tables.batch_accounts)
Request = _mapped(tables.requests)
Answer = _mapped(tables.answers)
Attempt = _mapped(tables.attempts)


def engine_of(data: Path) -> Engine:
    """Return an engine on the workspace's database: WAL, and commits that do not wait for the disk, as is customary."""
    engine = create_engine(f"sqlite:///{database(data)}")

    @event.listens_for(engine, "connect")
    def _prepare(connection: Any, _record: Any) -> None:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")

    return engine


class Camel(BaseModel):
    """What the API reads and writes in camel case; below are the parts of a request and of a result."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)


class _Part(Camel):
    text: str


class _Instruction(Camel):
    parts: list[_Part]


class _Content(_Instruction):
    role: str


class _Config(Camel):
    response_mime_type: str
    response_schema: dict[str, Any]
    max_output_tokens: int
    thinking_config: dict[str, Any]


class _Body(Camel):
    contents: list[_Content]
    system_instruction: _Instruction
    generation_config: _Config


class _Asked(Camel):
    key: str
    request: _Body


class _Candidate(Camel):
    content: _Content
    finish_reason: str
    index: int


class _Usage(Camel):
    prompt_token_count: int = 0
    candidates_token_count: int = 0
    thoughts_token_count: int = 0


class _Response(Camel):
    candidates: list[_Candidate]
    usage_metadata: _Usage
    model_version: str
    response_id: str


class _Failure(Camel):
    code: int
    message: str


class _Line(Camel):
    key: str
    response: _Response | None = None
    error: _Failure | None = None


class _Tags(BaseModel):
    tags: list[str]

    @field_validator("tags")
    @classmethod
    def _clean(cls, tags: list[str]) -> list[str]:
        clean = list(dict.fromkeys(" ".join(tag.lower().split()) for tag in tags))
        if not clean:
            raise ValueError("no tags")
        return clean


def requests(data: Path) -> Timed:
    """Request files of all people."""
    engine = engine_of(data)
    schema = response_schema(CURRENT.answer)

    def run() -> Said:
        with Session(engine) as session:
            experts = session.scalars(select(Expert).where(Expert.tags.is_(None)).order_by(Expert.id)).all()
            experts = [expert for expert in experts if expert.bio and expert.bio.strip()]
            asked = {expert.id: _told(expert) for expert in experts}
            lines = [_line_of(expert.id, asked[expert.id], schema) for expert in experts]
            text = "\n".join(json.dumps(line.model_dump(by_alias=True)) for line in lines) + "\n"
            path = data / "batches" / "000001-requests.jsonl"
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
            now = datetime.now(UTC)
            session.add(_batch_of(len(experts), text, now))
            session.flush()
            for number, expert in enumerate(experts, start=1):
                who = f"{_sha(expert.username)[:16]}:{_sha(asked[expert.id])}"
                claim = {"task": TASK, "item_id": str(expert.id), "batch": 1, "line": number, "open": True, "at": now}
                session.add(Request(**claim, input_hash=who))
            session.commit()
        return {}

    return run


def _told(expert: Any) -> str:
    """Return what a model is told of a person."""
    return "\n".join(
        (
            delimited("username", " ".join(expert.username.split())),
            delimited("job_title", " ".join((expert.job_title or "").split())),
            delimited("biography", (expert.bio or "").strip()),
        )
    )


def _line_of(number: int, text: str, schema: dict[str, Any]) -> _Asked:
    """Return one line of the file."""
    config = _Config(
        response_mime_type="application/json",
        response_schema=schema,
        max_output_tokens=MAX_OUTPUT_TOKENS,
        thinking_config={"thinkingLevel": "MINIMAL"},
    )
    contents = [_Content(role="user", parts=[_Part(text=text)])]
    system = _Instruction(parts=[_Part(text=CURRENT.system)])
    body = _Body(contents=contents, system_instruction=system, generation_config=config)
    return _Asked(key=f"{TASK}/{number}", request=body)


def _batch_of(count: int, text: str, now: datetime) -> Any:
    """Return the row of the batch, its estimates by the usual rule of thumb."""
    data = text.encode()
    return Batch(
        number=1,
        task=TASK,
        extractor=f"{TASK}@1/{MODEL}",
        model=MODEL,
        state="prepared",
        created_at=now,
        requests=count,
        request_file="batches/000001-requests.jsonl",
        request_sha256=hashlib.sha256(data).hexdigest(),
        request_size=len(data),
        estimated_in=len(data) // 4,
        estimated_out=count * 100,
        estimated_cost=0.0,
        priced_on="2026-10-07",
    )


def _sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def ingest(data: Path) -> Timed:
    """Results into the workspace's own database."""
    return ingest_on(engine_of(data), data)


def ingest_on(engine: Engine, data: Path) -> Timed:
    """Return the work on whatever database there is."""

    def run() -> Said:
        with Session(engine) as session:
            batch = session.scalars(select(Batch).where(Batch.state == "downloaded")).one()
            number, extractor, path = batch.number, batch.extractor, data / str(batch.result_file)
            query = select(Request.item_id, Request.id).where(Request.batch == number)
            asked: dict[str, int] = dict(session.execute(query).tuples().all())
        lines = path.read_text(encoding="utf-8").splitlines()
        duplicates = 0
        for text in lines:
            line = _Line.model_validate(json.loads(text))
            with Session(engine) as session:
                request = session.get_one(Request, asked[line.key.removeprefix(f"{TASK}/")])
                duplicates += not _take(session, line, request, extractor=extractor)
                session.commit()
        with Session(engine) as session:
            _finish(session, number, duplicates)
            session.commit()
        return {"rows": len(lines) - duplicates}

    return run


def _take(session: Session, line: _Line, request: Any, *, extractor: str) -> bool:
    """Apply one line to its request; false when there was one for the same key already."""
    if request.outcome is not None:
        return False
    request.open = False
    common = {"task": TASK, "item_id": request.item_id, "batch": request.batch, "at": datetime.now(UTC)}

    def failed(outcome: str, reason: str, **more: Any) -> bool:
        request.outcome, request.reason = outcome, reason
        no_tokens = {"tokens_in": 0, "tokens_out": 0, "cost": 0.0}
        session.add(Attempt(**common, charged=True, outcome=outcome, reason=reason, **{**no_tokens, **more}))
        return True

    if line.error is not None or line.response is None:
        code, message = (line.error.code, line.error.message) if line.error else (None, None)
        return failed("refused", "error-line", code=code, excerpt=message)
    response, usage = line.response, line.response.usage_metadata
    used: dict[str, Any] = {
        "tokens_in": usage.prompt_token_count,
        "tokens_out": usage.candidates_token_count + usage.thoughts_token_count,
    }
    used["cost"] = (used["tokens_in"] * PRICE_IN + used["tokens_out"] * PRICE_OUT) / 1_000_000
    text = response.candidates[0].content.parts[0].text
    try:
        tags = _Tags.model_validate(json.loads(text)).tags
    except (json.JSONDecodeError, ValidationError) as error:
        return failed("invalid", f"does-not-parse: {error}", excerpt=text[:200], **used)
    request.outcome, request.reason = "answered", "ok"
    expert = session.get_one(Expert, int(request.item_id))
    applied = not expert.tags
    if applied:
        expert.tags = json.dumps(tags)
        expert.findability_score = _score_of(expert)
    whence = {"extractor": extractor, "model_version": response.model_version, "response_id": response.response_id}
    answer = {"input_hash": request.input_hash, "answer": json.dumps({"tags": tags}), "applied": applied}
    session.add(Answer(**common, **whence, **answer, **used))
    return True


def _finish(session: Session, number: int, duplicates: int) -> None:
    """Put what became of the batch on record."""
    batch = session.get_one(Batch, number)
    counted = select(Request.outcome, func.count()).where(Request.batch == number).group_by(Request.outcome)
    outcomes: dict[str | None, int] = dict(session.execute(counted).tuples().all())
    batch.state = "ingested"
    account = Account(batch=number, unknown=0, unreadable=0, duplicates=duplicates, tokens_in=0, tokens_out=0, cost=0.0)
    account.answered, account.refused = outcomes.get("answered", 0), outcomes.get("refused", 0)
    account.invalid, account.missing = outcomes.get("invalid", 0), outcomes.get(None, 0)
    account.not_applied = session.scalar(select(func.count()).where(Answer.batch == number, ~Answer.applied))
    for table in (Answer, Attempt):
        sums = (func.sum(table.tokens_in), func.sum(table.tokens_out), func.sum(table.cost))
        tokens_in, tokens_out, cost = session.execute(select(*sums).where(table.batch == number)).one()
        account.tokens_in += tokens_in or 0
        account.tokens_out += tokens_out or 0
        account.cost += cost or 0.0
    session.add(account)


def score(data: Path) -> Timed:
    """Scores, each person fetched by id."""
    ids = select(Expert.id).order_by(Expert.id)
    return _scoring(data, lambda session: (session.get_one(Expert, one) for one in session.scalars(ids).all()))


def score_at_once(data: Path) -> Timed:
    """Scores, all people fetched by one statement."""
    return _scoring(data, lambda session: session.scalars(select(Expert).order_by(Expert.id)).all())


def _scoring(data: Path, fetched: Callable[[Session], Iterable[Any]]) -> Timed:
    engine = engine_of(data)

    def run() -> Said:
        count = 0
        with Session(engine) as session:
            for expert in fetched(session):
                expert.findability_score = _score_of(expert)
                count += 1
            session.commit()
        return {"rows": count}

    return run


def _score_of(expert: Any) -> float:
    points = min(40.0, len((expert.bio or "").strip()) / 500 * 40)
    points += 25 if json.loads(expert.tags or "[]") else 0
    points += 15 if (expert.profile_url or "").strip() else 0
    points += 10 if (expert.job_title or "").strip() else 0
    points += 10 if (expert.hourly_rate or 0) > 0 else 0
    return round(points, 1)
