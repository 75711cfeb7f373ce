"""Build the request lines of a task, and estimate their usage.

A generating model gets a prompt with a schema of the answer. A decision model generates no text. It
chooses a value of each closed field, with a probability; a task is closed if all its fields are
closed, and only a closed task can be decided. Images of a row are sent to it as blocks of the input
(`ImageContent` of google-genai 3.6.1).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, NamedTuple

from askrows.pipeline.core.errors import InputError
from askrows.pipeline.provider import answer_schema, decisions, requests, responses
from askrows.pipeline.provider.models import Model
from askrows.pipeline.provider.providers import find_provider
from askrows.pipeline.provider.usage import Usage, estimate_tokens
from askrows.pipeline.store import claims
from askrows.pipeline.store.database import Connection
from askrows.pipeline.tasks.task import Task
from askrows.pipeline.tasks.task_values import RowsById, TaskRow

# The token limit grows by this factor after each answer that the limit cut short.
TOKEN_LIMIT_FACTOR = 4


class PlannedRequest(NamedTuple):
    """One request before it is written to a file."""

    row: TaskRow
    # The request line without its line end.
    line: bytes
    # Estimated usage.
    usage: Usage

    @property
    def size_bytes(self) -> int:
        """Return the length of the line in bytes."""
        return len(self.line)


@dataclass(frozen=True)
class QuestionLines:
    """Build the request lines of a task's closed questions."""

    task: Task
    model: Model

    @cached_property
    def questions(self) -> dict[str, Any]:
        """Return the questions about a row, by id; they are the same for all rows."""
        return decisions.build_questions(self.task.closed_fields.values())

    @cached_property
    def question_tokens(self) -> int:
        """Return the estimated tokens of the questions of a request."""
        return decisions.estimate_question_tokens(self.questions)

    def build_request_line(self, key: str, prompt: requests.Prompt) -> tuple[bytes, Usage]:
        """Build the request line with a row's prompt and all closed questions; estimate its tokens.

        System text and prompt are sent as a single text, or with images as blocks.

        Args:
            key: Key of the request, which its reply repeats.

        Returns:
            The line without a line end, and the estimated tokens of the request. The reply counts
            as 0 tokens, because a decision model generates no text.

        Raises:
            InputError: The task has more closed questions than a request may have.
        """
        resolution = self.task.prompt_builder.declaration.media_resolution
        blocks = [
            requests.convert_part_to_decision_block(part, resolution)
            for part in ({"text": prompt.system}, *prompt.parts)
        ]
        blocks = [block for block in blocks if block.get("text") != ""]
        texts = [block["text"] for block in blocks if "text" in block]
        image_count = len(blocks) - len(texts)
        prompt_text = "\n\n".join(texts)
        decisions.check_question_count(self.questions)
        # The length of a text is not checked here: the API refuses a text that is too long, which
        # parks its row alone and does not stop the others.
        body = {
            "input": blocks if image_count else prompt_text,
            "questions": self.questions,
        }
        image_tokens = image_count * self.model.count_image_tokens(None)
        return requests.make_request_line(key, body), Usage(
            prompt=estimate_tokens(prompt_text) + image_tokens + self.question_tokens
        )


@dataclass(frozen=True)
class RequestBuilder:
    """Build the requests of a task to a model, and estimate their usage."""

    task: Task
    model: Model

    @cached_property
    def schema(self) -> dict[str, Any]:
        """Return the JSON schema of an answer as it is sent."""
        return answer_schema.make_response_schema(
            self.task.answer_model,
            describe_limits=self.task.fingerprint is not None,
            quoted_source=self.task.quoted_text_name,
        )

    @cached_property
    def settings(self) -> requests.RequestSettings:
        """Return the settings that all requests of the task share."""
        declared = self.task.prompt_builder.declaration
        model = self.model

        level = declared.media_resolution if declared.images else None
        resolution = f"MEDIA_RESOLUTION_{level.upper()}" if level else None
        return requests.RequestSettings(
            answer_schema=self.schema,
            thinking_config=model.choose_and_check_thinking_config(declared.thinking),
            temperature=declared.temperature if model.temperature else None,
            answer_tokens=self.task.record.answer_tokens,
            media_resolution=resolution,
            image_tokens=model.count_image_tokens(resolution),
            terms=answer_schema.describe_vocabularies(self.task.answer_model),
        )

    @cached_property
    def _question_lines(self) -> QuestionLines | None:
        """Return the builder of questions to a decision model, or None for another model."""
        return QuestionLines(self.task, self.model) if self.model.kind == "decide" else None

    @property
    def sent_answer_form(self) -> dict[str, Any]:
        """Return the part of a request that sets the form of its answer: schema or questions."""
        return self.schema if self._question_lines is None else self._question_lines.questions

    def build_requests(self, tx: Connection, rows: RowsById) -> Iterator[PlannedRequest]:
        """Build and yield the request about each row, in order, without rows that lack a prompt.

        A row lacks a prompt if, for example, its images cannot be read; see
        `Task.make_task_rows_with_prompts`.

        For each answer of a row that was cut short, the token limit of its next request is
        multiplied by TOKEN_LIMIT_FACTOR, up to the limit of the model. Only reads.

        Raises:
            InputError: No request line can be made of a prompt, or the line is too long for a batch
                file.
            ConfigurationError: The task's file changed during the command.
        """
        task = self.task
        max_file_bytes = find_provider(self.model.provider).max_file_bytes
        cut_counts = claims.count_cut_short_attempts(tx, task.name, list(rows))

        for row in task.make_task_rows_with_prompts(rows):
            prompt = row.prompt
            declared_limit = prompt.max_output_tokens
            model_limit = self.model.output_limit or declared_limit * TOKEN_LIMIT_FACTOR
            grown_limit = declared_limit * TOKEN_LIMIT_FACTOR ** cut_counts.get(row.id, 0)
            line_builder = self._question_lines or self.settings
            try:
                line, usage = line_builder.build_request_line(
                    requests.make_request_key(task.name, row.id),
                    prompt._replace(max_output_tokens=min(grown_limit, model_limit)),
                )
            except InputError as error:
                raise self._make_row_error(tx, row.id, error.message) from error
            if len(line) >= max_file_bytes:
                reason = (
                    f"the request has {len(line):,} bytes, "
                    f"more than the API's limit of {max_file_bytes:,} for a file"
                )
                raise self._make_row_error(tx, row.id, reason)
            yield PlannedRequest(row, line, usage)

    def _make_row_error(self, tx: Connection, row_id: str, reason: str) -> InputError:
        """Return the error of a row that cannot be sent, with the name of the row."""
        name = self.task.rows.read_names(tx, [row_id]).get(row_id, row_id)
        return InputError(
            f"{name}: {reason}; nothing was sent",
            hint="correct this row, then run the same command again",
        )


def list_open_fields(task: Task) -> list[str]:
    """Return the names of the task's fields that a decision model cannot answer."""
    return [field.name for field in task.answer_fields if field.name not in task.closed_fields]


def describe_open_fields(field_names: Sequence[str]) -> str:
    """Return the sentence that decisions cannot answer these fields (at least one field)."""
    names = ", ".join(f"`{name}`" for name in field_names)
    return (
        f"decisions cannot answer {names}, but only choices, yes or no, whole numbers with bounds, "
        "and lists of these"
    )


def choose_response_parser(task: Task, model: Model) -> responses.ResponseParser:
    """Return the function that parses the responses of a model about rows of the task."""
    if model.kind != "decide":
        return responses.parse_generated_response
    return partial(decisions.parse_decisions, closed_fields=task.closed_fields.values())
