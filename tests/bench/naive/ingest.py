"""Results the naive way: the file in memory, nested models for each line, a session and a commit for each row."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError, field_validator
from sqlalchemy import Engine, func, select
from sqlalchemy.orm import Session

from tests.bench.measure import Said, Timed
from tests.bench.naive.orm import Account, Answer, Attempt, Batch, Expert, Request, engine_of
from tests.bench.naive.score import score_of
from tests.bench.naive.wire import TASK, Camel, Content

PRICE_IN, PRICE_OUT = 0.15, 1.25  # USD per million tokens in a batch of gemini-3.5-flash-lite


class Candidate(Camel):
    """One reply."""

    content: Content
    finish_reason: str
    index: int


class Usage(Camel):
    """Tokens."""

    prompt_token_count: int = 0
    candidates_token_count: int = 0
    thoughts_token_count: int = 0


class Response(Camel):
    """What came back for a request."""

    candidates: list[Candidate]
    usage_metadata: Usage
    model_version: str
    response_id: str


class Failure(Camel):
    """An error in the place of a response."""

    code: int
    message: str


class Line(Camel):
    """One line of the file."""

    key: str
    response: Response | None = None
    error: Failure | None = None


class Tags(BaseModel):
    """A valid answer."""

    tags: list[str]

    @field_validator("tags")
    @classmethod
    def _clean(cls, tags: list[str]) -> list[str]:
        clean = list(dict.fromkeys(" ".join(tag.lower().split()) for tag in tags))
        if not clean:
            raise ValueError("no tags")
        return clean


def ready(data: Path) -> Timed:
    """Open the database."""
    return on(engine_of(data), data)


def on(engine: Engine, data: Path) -> Timed:
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
            line = Line.model_validate(json.loads(text))
            with Session(engine) as session:
                request = session.get_one(Request, asked[line.key.removeprefix(f"{TASK}/")])
                duplicates += not take(session, line, request, extractor=extractor)
                session.commit()
        with Session(engine) as session:
            finish(session, number, duplicates)
            session.commit()
        return {"rows": len(lines) - duplicates}

    return run


def take(session: Session, line: Line, request: Any, *, extractor: str) -> bool:
    """Apply one line to its request; false when there was one for the same key already."""
    item_id, batch = request.item_id, request.batch
    if request.outcome is not None:
        return False
    request.open = False
    now = datetime.now(UTC)
    common: dict[str, Any] = {"task": TASK, "item_id": item_id, "batch": batch, "at": now}

    def failed(outcome: str, reason: str, **more: Any) -> bool:
        request.outcome, request.reason = outcome, reason
        no_tokens = {"tokens_in": 0, "tokens_out": 0, "cost": 0.0}
        session.add(Attempt(**common, charged=True, outcome=outcome, reason=reason, **{**no_tokens, **more}))
        return True

    if line.error is not None or line.response is None:
        code, message = (line.error.code, line.error.message) if line.error else (None, None)
        return failed("refused", "error-line", code=code, excerpt=message)
    response = line.response
    usage = response.usage_metadata
    used: dict[str, Any] = {
        "tokens_in": usage.prompt_token_count,
        "tokens_out": usage.candidates_token_count + usage.thoughts_token_count,
    }
    used["cost"] = (used["tokens_in"] * PRICE_IN + used["tokens_out"] * PRICE_OUT) / 1_000_000
    text = response.candidates[0].content.parts[0].text
    try:
        tags = Tags.model_validate(json.loads(text)).tags
    except (json.JSONDecodeError, ValidationError) as error:
        return failed("invalid", f"does-not-parse: {error}", excerpt=text[:200], **used)
    request.outcome, request.reason = "answered", "ok"
    expert = session.get_one(Expert, int(item_id))
    applied = not expert.tags
    if applied:
        expert.tags = json.dumps(tags)
        expert.findability_score = score_of(expert)
    session.add(
        Answer(
            **common,
            extractor=extractor,
            input_hash=request.input_hash,
            answer=json.dumps({"tags": tags}),
            applied=applied,
            model_version=response.model_version,
            response_id=response.response_id,
            **used,
        )
    )
    return True


def finish(session: Session, number: int, duplicates: int) -> None:
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
