"""Request files the naive way: everybody in memory, a tree of models for each, one long text, claims as ORM objects."""

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from pipeline.experts.answer import ExpertTags
from pipeline.experts.task import MAX_OUTPUT_TOKENS, SYSTEM, delimited
from pipeline.gemini.schema import response_schema
from tests.bench.measure import Said, Timed
from tests.bench.naive.orm import Batch, Expert, Request, engine_of
from tests.bench.naive.wire import TASK, Camel, Content, Part


class Instruction(Camel):
    """What the system says."""

    parts: list[Part]


class Config(Camel):
    """How to answer."""

    response_mime_type: str
    response_schema: dict[str, Any]
    max_output_tokens: int
    thinking_config: dict[str, Any]


class Body(Camel):
    """One request."""

    contents: list[Content]
    system_instruction: Instruction
    generation_config: Config


class Line(Camel):
    """One line of the file."""

    key: str
    request: Body


def ready(data: Path) -> Timed:
    """Open the database."""
    engine = engine_of(data)
    schema = response_schema(ExpertTags)

    def run() -> Said:
        with Session(engine) as session:
            experts = session.scalars(select(Expert).where(Expert.tags.is_(None)).order_by(Expert.id)).all()
            experts = [expert for expert in experts if expert.bio and expert.bio.strip()]
            asked = {expert.id: told(expert) for expert in experts}
            lines = [line_of(expert.id, asked[expert.id], schema) for expert in experts]
            text = "\n".join(json.dumps(line.model_dump(by_alias=True)) for line in lines) + "\n"
            path = data / "batches" / "000001-requests.jsonl"
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
            now = datetime.now(UTC)
            session.add(batch_of(len(experts), text, now))
            session.flush()
            for number, expert in enumerate(experts, start=1):
                session.add(
                    Request(
                        task=TASK,
                        item_id=str(expert.id),
                        batch=1,
                        line=number,
                        input_hash=f"{_sha(expert.username)[:16]}:{_sha(asked[expert.id])}",
                        open=True,
                        at=now,
                    )
                )
            session.commit()
        return {}

    return run


def told(expert: Any) -> str:
    """Return what a model is told of a person."""
    return "\n".join(
        (
            delimited("username", " ".join(expert.username.split())),
            delimited("job_title", " ".join((expert.job_title or "").split())),
            delimited("biography", (expert.bio or "").strip()),
        )
    )


def line_of(number: int, text: str, schema: dict[str, Any]) -> Line:
    """Return one line of the file."""
    return Line(
        key=f"{TASK}/{number}",
        request=Body(
            contents=[Content(role="user", parts=[Part(text=text)])],
            system_instruction=Instruction(parts=[Part(text=SYSTEM)]),
            generation_config=Config(
                response_mime_type="application/json",
                response_schema=schema,
                max_output_tokens=MAX_OUTPUT_TOKENS,
                thinking_config={"thinkingLevel": "MINIMAL"},
            ),
        ),
    )


def batch_of(count: int, text: str, now: datetime) -> Any:
    """Return the row of the batch, its estimates by the usual rule of thumb."""
    data = text.encode()
    return Batch(
        number=1,
        task=TASK,
        extractor=f"{TASK}@1/gemini-3.5-flash-lite",
        model="gemini-3.5-flash-lite",
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
