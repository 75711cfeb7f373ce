"""Ask the closed fields of a task's answers as questions to a decision model.

- A field is closed if its values can be listed: choices, yes or no, bounded whole numbers, and
  lists of these. All other fields are open.
- A decision model generates no text. It chooses a value of each closed field, with a probability.
- A task is closed if all its fields are closed. Only a closed task can be decided.
- Images of a row are sent as blocks of the input (`ImageContent` of google-genai 3.6.1).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

from pipeline.engine.task import Task
from pipeline.gemini import decisions, responses
from pipeline.gemini.models import Model
from pipeline.gemini.requests import Prompt, make_request_line
from pipeline.gemini.responses import ResponseParser
from pipeline.gemini.usage import Usage, estimate_tokens


def list_open_fields(task: Task) -> list[str]:
    """Return the names of the task's fields that a decision model cannot answer."""
    return [field.name for field in task.answer_fields if field.name not in task.closed_fields]


def describe_open_fields(field_names: Sequence[str]) -> str:
    """Return that decisions cannot answer some fields; at least one."""
    names = ", ".join(f"`{name}`" for name in field_names)
    return (
        f"decisions cannot answer {names}, but only choices, yes or no, whole numbers with bounds, "
        "and lists of these"
    )


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
        return decisions.estimate_decision_tokens("", self.questions)

    def build_request_line(self, key: str, prompt: Prompt) -> tuple[bytes, Usage]:
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
        blocks = [
            {"type": "text", "text": prompt.system},
            *map(self._convert_part_to_block, prompt.parts),
        ]
        blocks = [block for block in blocks if block.get("text") != ""]
        texts = [block["text"] for block in blocks if "text" in block]
        image_count = len(blocks) - len(texts)
        prompt_text = "\n\n".join(texts)
        # The length of a text is not checked here: the API refuses a text that is too long, which
        # parks its row alone and does not stop the others.
        request = decisions.build_decision_request(
            model=self.model.name,
            prompt_text="",
            questions=self.questions,
        )
        # The model is a column of the batch, as for all batches.
        body = {
            "input": blocks if image_count else prompt_text,
            "questions": request["questions"],
        }
        image_tokens = image_count * self.model.count_image_tokens(None)
        return make_request_line(key, body), Usage(
            prompt=estimate_tokens(prompt_text) + image_tokens + self.question_tokens
        )

    def _convert_part_to_block(self, part: Mapping[str, Any]) -> dict[str, Any]:
        """Convert a text or an image of a prompt to a block of a request to a decision model.

        The block of an image has the media resolution of the task's declaration, if that sets one.
        """
        if "text" in part:
            return {"type": "text", "text": part["text"]}
        inline_data = part["inlineData"]
        block = {
            "type": "image",
            "mime_type": inline_data["mimeType"],
            "data": inline_data["data"],
        }
        resolution = self.task.prompt_builder.declaration.media_resolution
        if resolution is not None:
            block["resolution"] = resolution
        return block


def choose_response_parser(task: Task, model: Model) -> ResponseParser:
    """Return the function that parses the responses of a model about rows of the task."""
    if model.kind != "decide":
        return responses.parse_response
    return partial(decisions.parse_decisions, closed_fields=task.closed_fields.values())
