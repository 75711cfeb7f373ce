"""Build closed questions for Gemini's Decisions API, and parse the probabilities that it replies.

- A field is *closed* if a decision can answer it: a choice of 2 to 255 options, a boolean, a whole
  number with both bounds, or a list of such choices or numbers. Each of them may be optional.
- A decision model replies a probability for each option and writes no text. The answer of a closed
  field is its most probable option, and the confidence is the probability of that answer.
- A list is asked as a yes/no question for each member that it may contain.
- A vocabulary of more than 255 terms is asked as two choices in one request: a heading, and for
  each heading one of its terms. The input is billed once. The term below the chosen heading counts.
- The API is documented for v1beta: `POST /v1beta/decisions` (public pages of 2026-11-11, types of
  google-genai 3.3.0).
"""

import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import orjson

from pipeline.core.declaration import json_schema
from pipeline.core.errors import InputError
from pipeline.core.states import Outcome
from pipeline.core.vocabulary import VOCABULARY, describe_meaning
from pipeline.gemini.answer_schema import OPTION_MEANINGS_KEYWORD, list_choice_texts
from pipeline.gemini.responses import (
    MAX_TOKEN_COUNT,
    ParsedReply,
    excerpt_or_empty,
    make_excerpt,
    object_or_empty,
    parse_count,
)
from pipeline.gemini.usage import Usage, estimate_tokens

if TYPE_CHECKING:
    from pydantic import BaseModel

# Questions of a call (public pages of 2026-11-11).
MAX_QUESTIONS = 1_000
# Input tokens of a call (the same pages).
MAX_PROMPT_TOKENS = 262_144
# Options of a choice, and levels of a score (types of google-genai 3.3.0).
MIN_OPTIONS = 2
MAX_OPTIONS = 255
# From this probability on, a yes/no question counts as yes.
MIN_YES_PROBABILITY = 0.5
# The option for a missing value.
NO_VALUE_ID = "no value"
NO_VALUE_MEANING = "none of these, or not stated"
# Names of the token counts in a reply. The first two are the forms of the SDK's type, the third is
# that of generateContent; which of them arrives is not documented.
_USAGE_NAMES = (
    ("total_input_tokens", "totalInputTokens", "promptTokenCount"),
    ("total_output_tokens", "totalOutputTokens", "candidatesTokenCount"),
    ("total_thought_tokens", "totalThoughtTokens", "thoughtsTokenCount"),
    ("total_cached_tokens", "totalCachedTokens", "cachedContentTokenCount"),
)

FieldKind = Literal["choice", "noul", "score", "members"]


class _Option(NamedTuple):
    """A value that a closed field or a member of its list may have."""

    # The JSON value in a reply, as `decode_reply` reads it; None for a missing value.
    value: Any
    # What the value means; "" if its text says all.
    meaning: str = ""

    @property
    def text(self) -> str:
        """Return the value as text."""
        return self.value if isinstance(self.value, str) else json.dumps(self.value)


@dataclass(frozen=True)
class _ClosedField:
    """A closed field of an answer."""

    # The name in the answer's model, and the name of its member in a reply.
    name: str
    member: str
    kind: FieldKind
    # Its description, or else its name.
    instructions: str
    # Options by id, in their order: of a choice its values, of a score its levels, of a list the
    # values that it may contain. A boolean has none.
    options: Mapping[str, _Option]
    # Bounds of the length of a list; without a maximum it is None.
    min_members: int = 0
    max_members: int | None = None
    # The choice below a heading of a vocabulary, by the id of the heading's option.
    choices_below: "Mapping[str, _ClosedField]" = dataclasses.field(default_factory=dict)

    def iter_questions(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield the id and the question of a field, of its headings and of its list's values."""
        if self.kind == "members":
            for index, option in enumerate(self.options.values()):
                member_text = f'"{option.text}"'
                if option.meaning:
                    member_text += f" ({option.meaning})"
                instructions = f"{self.instructions}: does {member_text} apply?"
                yield self._member_id(index), {"type": "noul", "instructions": instructions}
            return

        question: dict[str, Any] = {"type": self.kind, "instructions": self.instructions}
        if self.kind == "choice":
            question["criteria"] = {
                option_id: option.meaning or option.text or "an empty text"
                for option_id, option in self.options.items()
            }
        if self.kind == "score":
            question["criteria"] = [option.text for option in self.options.values()]
        yield self.name, question
        for choice in self.choices_below.values():
            yield from choice.iter_questions()

    def read_answer(self, answers: Mapping[str, Any]) -> tuple[Any, float]:
        """Return the value of the field in a reply, and its probability.

        Args:
            answers: The answers of a reply, by question id.

        Raises:
            ValueError: An answer is missing or invalid; the message begins with the question id.
        """
        if self.kind == "members":
            return self._read_members(answers)

        answer = _find_answer(answers, self.name, self.kind)
        if self.kind == "noul":
            probability = _read_probability(answer.get("noul"), self.name)
            is_true = probability >= MIN_YES_PROBABILITY
            return is_true, max(probability, 1 - probability)
        if self.kind == "score":
            return self._read_level(answer)

        chosen_id, probability = self._read_choice(answer)
        if chosen_id not in self.choices_below:
            return self.options[chosen_id].value, probability
        value, probability_below = self.choices_below[chosen_id].read_answer(answers)
        return value, probability * probability_below

    def _read_choice(self, answer: Mapping[str, Any]) -> tuple[str, float]:
        """Return the chosen option's id and probability; raise ValueError as `read_answer`."""
        probabilities = _read_probabilities(answer, self.options, self.name)
        chosen_id = answer.get("choice")
        if not isinstance(chosen_id, str) or chosen_id not in self.options:
            raise ValueError(f"{self.name}: {make_excerpt(chosen_id)!r} is not an option")
        if chosen_id not in probabilities:
            raise ValueError(f"{self.name}: the chosen option has no probability")
        return chosen_id, probabilities[chosen_id]

    def _read_level(self, answer: Mapping[str, Any]) -> tuple[Any, float]:
        """Return the most probable level and its probability; raise ValueError as `read_answer`."""
        levels = list(self.options.values())
        level_indexes = {str(index): index for index in range(len(levels))}
        probabilities = _read_probabilities(answer, level_indexes, self.name)
        if not probabilities:
            raise ValueError(f"{self.name}: no level has a probability")

        best_level = max(probabilities, key=lambda level: (probabilities[level], -int(level)))
        return levels[level_indexes[best_level]].value, probabilities[best_level]

    def _read_members(self, answers: Mapping[str, Any]) -> tuple[list[Any], float]:
        """Return the probable members of a list, most probable first, and their confidence.

        The bounds of the list come before the probabilities. The confidence is that of the least
        certain decision about a member.

        Raises:
            ValueError: As `read_answer`.
        """
        options = list(self.options.values())
        probabilities = []
        for index in range(len(options)):
            question_id = self._member_id(index)
            answer = _find_answer(answers, question_id, "noul")
            probabilities.append(_read_probability(answer.get("noul"), question_id))

        order = sorted(range(len(options)), key=lambda index: (-probabilities[index], index))
        probable_count = sum(probability >= MIN_YES_PROBABILITY for probability in probabilities)
        member_count = max(probable_count, self.min_members)
        if self.max_members is not None:
            member_count = min(member_count, self.max_members)

        chosen_probabilities = [probabilities[index] for index in order[:member_count]]
        other_probabilities = [1 - probabilities[index] for index in order[member_count:]]
        members = [options[index].value for index in order[:member_count]]
        return members, min(chosen_probabilities + other_probabilities)

    def _member_id(self, index: int) -> str:
        """Return the id of the question about a value that the list may contain."""
        return f"{self.name}[{index}]"


def list_closed_fields(answer_model: "type[BaseModel]") -> tuple[str, ...]:
    """Return the names of the top-level fields that decisions can answer, in their order."""
    return tuple(_closed_fields(answer_model))


def build_questions(
    answer_model: "type[BaseModel]",
    field_names: Sequence[str],
) -> dict[str, Any]:
    """Return the `questions` of a decision request about some closed fields.

    The id of a question is the name of its field. The questions of a list have ids such as
    `topics[3]`.

    Raises:
        InputError: A field is not closed.
    """
    questions: dict[str, Any] = {}
    for field in _find_fields(answer_model, field_names):
        questions.update(field.iter_questions())
    return questions


def build_decision_request(
    *,
    model: str,
    prompt_text: str,
    questions: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the body of a decision request.

    Args:
        model: The name of a decision model.
        prompt_text: The text that all questions are about.
        questions: The questions of `build_questions`.

    Raises:
        InputError: There is no question, or the request exceeds MAX_QUESTIONS or
            MAX_PROMPT_TOKENS.
    """
    if not 1 <= len(questions) <= MAX_QUESTIONS:
        raise InputError(
            f"a decision asks 1 to {MAX_QUESTIONS:,} questions, not {len(questions):,}; "
            "nothing was asked",
            hint="shorten the lists of options in the answer's fields",
        )

    token_count = estimate_decision_tokens(prompt_text, questions)
    if token_count > MAX_PROMPT_TOKENS:
        raise InputError(
            f"the prompt and its questions have about {token_count:,} tokens, and a decision "
            f"accepts {MAX_PROMPT_TOKENS:,}; the row was not asked",
            hint="shorten the text of the row, or ask it in another mode",
        )
    return {
        "model": f"models/{model.removeprefix('models/')}",
        "input": prompt_text,
        "questions": dict(questions),
    }


def estimate_decision_tokens(prompt_text: str, questions: Mapping[str, Any]) -> int:
    """Estimate the input tokens of a decision; a decision has no billed output."""
    return estimate_tokens(prompt_text) + estimate_tokens(orjson.dumps(questions).decode())


def parse_decisions(
    response: Any,
    answer_model: "type[BaseModel]",
    field_names: Sequence[str],
) -> ParsedReply:
    """Parse the reply to a decision request about some closed fields.

    The outcome is REFUSED if the prompt was blocked. It is INVALID if the reply is not an object,
    or an answer is missing, was not asked, or has an invalid probability; the reason then names the
    question. The text of an ANSWERED reply is JSON for `parse_answer`, with these fields only.

    Args:
        response: The JSON of the reply, of any form.
        answer_model: The model of the task's answers.
        field_names: The closed fields that were asked.
    """

    def read_fields(answers: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, float]]:
        return _read_answers(answers, answer_model, field_names)

    return _parse_answers(response, read_fields)


def parse_nouls(response: Any) -> ParsedReply:
    """Parse the reply to a request of yes/no questions.

    The outcome is that of `parse_decisions`, but the caller checks which questions were answered.
    The text of an ANSWERED reply is JSON with the probability of yes by question id, and so are its
    confidences.

    Args:
        response: The JSON of the reply, of any form.
    """

    def read_nouls(answers: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, float]]:
        if not answers:
            raise ValueError("answers: none")
        probabilities = {
            question_id: _read_probability(
                _find_answer(answers, question_id, "noul").get("noul"),
                question_id,
            )
            for question_id in answers
        }
        return dict(probabilities), probabilities

    return _parse_answers(response, read_nouls)


def _parse_answers(
    response: Any,
    read_answers: Callable[[Mapping[str, Any]], tuple[dict[str, Any], dict[str, float]]],
) -> ParsedReply:
    """Parse the reply to a decision request.

    Args:
        response: The JSON of the reply, of any form.
        read_answers: Returns the document and the confidences of the answers by question id, or
            raises ValueError.
    """
    if not isinstance(response, dict):
        return ParsedReply(Outcome.INVALID, "unreadable", excerpt_source=response)

    details = _read_details(response)
    feedback = object_or_empty(
        response.get("prompt_feedback") or response.get("promptFeedback"),
    )
    block_reason = excerpt_or_empty(feedback.get("block_reason") or feedback.get("blockReason"))
    answers = object_or_empty(response.get("answers"))
    if block_reason or (feedback and not answers):
        return ParsedReply(
            Outcome.REFUSED,
            "prompt-blocked",
            finish_reason=block_reason,
            excerpt_source=feedback,
            **details,
        )

    try:
        document, confidences = read_answers(answers)
    except ValueError as error:
        reason = make_excerpt(f"does-not-validate: {error}")
        return ParsedReply(Outcome.INVALID, reason, excerpt_source=answers, **details)

    text = json.dumps(document, ensure_ascii=False)
    return ParsedReply(
        Outcome.ANSWERED,
        "ok",
        text,
        confidences=confidences,
        excerpt_source=text,
        **details,
    )


def _read_details(response: Mapping[str, Any]) -> dict[str, Any]:
    """Return usage, model version and response id of a reply, by member of `ParsedReply`."""
    metadata = object_or_empty(response.get("usage") or response.get("usageMetadata"))
    token_counts = []
    for names in _USAGE_NAMES:
        counts = [parse_count(metadata.get(name), below=MAX_TOKEN_COUNT) for name in names]
        token_counts.append(max(counts))
    return {
        "usage": Usage(*token_counts),
        "model_version": excerpt_or_empty(response.get("modelVersion") or response.get("model")),
        "response_id": excerpt_or_empty(response.get("responseId") or response.get("id")),
    }


def _read_answers(
    answers: Mapping[str, Any],
    answer_model: "type[BaseModel]",
    field_names: Sequence[str],
) -> tuple[dict[str, Any], dict[str, float]]:
    """Return the document of an answer in the form of a reply, and the confidence by field name.

    Raises:
        ValueError: An answer is missing, invalid or was not asked.
    """
    fields = _find_fields(answer_model, field_names)
    question_ids = set[str]()
    document: dict[str, Any] = {}
    confidences: dict[str, float] = {}
    for field in fields:
        question_ids.update(question_id for question_id, _ in field.iter_questions())
        document[field.member], confidences[field.name] = field.read_answer(answers)

    unasked_ids = sorted(answers.keys() - question_ids)
    if unasked_ids:
        raise ValueError(f"{unasked_ids[0]}: was not asked")
    return document, confidences


def _find_answer(answers: Mapping[str, Any], question_id: str, kind: str) -> Mapping[str, Any]:
    """Return the answer to a question; raise ValueError if it is missing or of another type."""
    answer = answers.get(question_id)
    if answer is None:
        raise ValueError(f"{question_id}: no answer")
    if not isinstance(answer, dict) or answer.get("type") != kind:
        answer_type = make_excerpt(object_or_empty(answer).get("type"))
        raise ValueError(f"{question_id}: an answer of type {kind} expected, not {answer_type}")
    return answer


def _read_probabilities(
    answer: Mapping[str, Any],
    asked_options: Mapping[str, Any],
    question_id: str,
) -> dict[str, float]:
    """Return the probability of each option; raise ValueError if one is invalid or not asked."""
    probabilities: dict[str, float] = {}
    for option_id, probability in object_or_empty(answer.get("probabilities")).items():
        if option_id not in asked_options:
            raise ValueError(f"{question_id}: {make_excerpt(option_id)!r} is not an option")
        probabilities[option_id] = _read_probability(probability, question_id)
    return probabilities


def _read_probability(value: Any, question_id: str) -> float:
    """Return a probability as float; raise ValueError if it is not a number from 0 to 1."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    # The comparison is false for NaN.
    if not is_number or not 0 <= value <= 1:
        raise ValueError(f"{question_id}: {make_excerpt(value)} is not a probability")
    return float(value)


def _find_fields(
    answer_model: "type[BaseModel]",
    field_names: Sequence[str],
) -> list[_ClosedField]:
    """Return the closed fields with some names, in the order of the names.

    Raises:
        InputError: A field is not closed.
    """
    closed_fields = _closed_fields(answer_model)
    for name in field_names:
        if name not in closed_fields:
            raise InputError(
                f"field {name!r} is not a closed question, and decisions answer only choices, "
                "booleans, bounded whole numbers, and lists of choices or numbers; "
                "nothing was asked",
                hint="ask this field in another mode",
            )
    return [closed_fields[name] for name in field_names]


@lru_cache(maxsize=256)
def _closed_fields(answer_model: "type[BaseModel]") -> Mapping[str, _ClosedField]:
    """Return the closed fields of an answer by name, in their order."""
    members = json_schema(answer_model).get("properties", {})
    nodes = json_schema(answer_model, by_alias=False).get("properties", {})
    closed_fields = {}
    for (name, node), member in zip(nodes.items(), members, strict=True):
        field = _read_field(name, member, node)
        if field is not None:
            closed_fields[name] = field
    return closed_fields


def _read_field(name: str, member: str, node: Mapping[str, Any]) -> _ClosedField | None:
    """Return the closed field that a node of the JSON schema describes; None for any other."""
    branches = _list_branches(node)
    instructions = _find_description(node, branches) or name.replace("_", " ")
    if any(branch.get("type") == "array" for branch in branches):
        return _read_list(name, member, branches, instructions)

    options = _read_options(branches)
    if options is not None and len(options) > MAX_OPTIONS:
        return _read_headings(name, member, branches, instructions, options)
    if options is None or not MIN_OPTIONS <= len(options) <= MAX_OPTIONS:
        return None

    kind: FieldKind = "choice"
    if len(branches) == 1 and _is_boolean(branches[0]):
        kind = "noul"
    elif len(branches) == 1 and _is_whole_number(branches[0]):
        kind = "score"
    return _ClosedField(name, member, kind, instructions, _name_options(options))


def _read_headings(
    name: str,
    member: str,
    branches: Sequence[Mapping[str, Any]],
    instructions: str,
    options: Sequence[_Option],
) -> _ClosedField | None:
    """Return the field of a large vocabulary: a choice of headings, with a choice below each.

    A heading with a single term is replaced by its term. None if the values are not those of a
    vocabulary, or a choice has too many options.
    """
    terms = [term for branch in branches for term in branch.get(VOCABULARY, {}).get("terms", ())]
    parents = {term["name"]: term["parent"] for term in terms}
    meanings = {term["name"]: describe_meaning(term) for term in terms}
    options_by_heading: dict[str | None, list[_Option]] = {}
    for option in options:
        heading = parents.get(option.value, "") or option.value
        options_by_heading.setdefault(heading, []).append(option)

    top_options = [
        below[0] if len(below) == 1 else _Option(heading, meanings[heading])
        for heading, below in options_by_heading.items()
    ]
    group_sizes = [len(top_options), *map(len, options_by_heading.values())]
    if max(group_sizes) > MAX_OPTIONS or len(top_options) < MIN_OPTIONS:
        return None

    named_options = _name_options(top_options)
    choices_below = {
        option_id: _ClosedField(
            f"{name}[{index}]",
            member,
            "choice",
            f"{instructions} (if it is {option.text!r})",
            _name_options(options_by_heading[option.value]),
        )
        for index, (option_id, option) in enumerate(named_options.items())
        if len(options_by_heading.get(option.value, ())) > 1
    }
    return _ClosedField(
        name,
        member,
        "choice",
        instructions,
        named_options,
        choices_below=choices_below,
    )


def _read_list(
    name: str,
    member: str,
    branches: Sequence[Mapping[str, Any]],
    instructions: str,
) -> _ClosedField | None:
    """Return the closed field of a list; None if its items are not choices or bounded numbers.

    An optional list is answered with a list, which may be empty.
    """
    lists = [branch for branch in branches if branch.get("type") != "null"]
    if len(lists) != 1:
        return None

    item_branches = _list_branches(lists[0].get("items", {}))
    options = _read_options(item_branches)
    has_plain_items = options is not None and not any(
        option.value is None or isinstance(option.value, bool) for option in options
    )
    if not options or not has_plain_items or len(options) > MAX_QUESTIONS:
        return None
    return _ClosedField(
        name,
        member,
        "members",
        instructions,
        _name_options(options),
        min_members=lists[0].get("minItems", 0),
        max_members=lists[0].get("maxItems"),
    )


def _list_branches(node: Any) -> list[Mapping[str, Any]]:
    """Return the alternatives of a node, also of nested unions; a node without union is its own."""
    if not isinstance(node, dict):
        return []

    alternatives = node.get("anyOf") or node.get("oneOf")
    if not alternatives:
        return [node]
    branches: list[Mapping[str, Any]] = []
    for alternative in alternatives:
        branches += _list_branches(alternative)
    return branches


def _find_description(node: Mapping[str, Any], branches: Sequence[Mapping[str, Any]]) -> str:
    """Return the description of a field, or of its only alternative besides null; else ""."""
    described_nodes = [node]
    other_branches = [branch for branch in branches if branch.get("type") != "null"]
    if len(other_branches) == 1:
        described_nodes += other_branches

    for described_node in described_nodes:
        description = described_node.get("description")
        if isinstance(description, str) and description.strip():
            return description.strip()
    return ""


def _read_options(branches: Sequence[Mapping[str, Any]]) -> list[_Option] | None:
    """Return the values that alternatives allow; None if the values are not a short list.

    A value that occurs twice is returned once.
    """
    options: list[_Option] = []
    for branch in branches:
        branch_options = _read_branch_options(branch)
        if branch_options is None:
            return None
        options += branch_options

    options_by_text: dict[Any, _Option] = {}
    for option in options:
        text = None if option.value is None else option.text
        options_by_text.setdefault(text, option)
    return list(options_by_text.values())


def _read_branch_options(branch: Mapping[str, Any]) -> list[_Option] | None:
    """Return the values that a node without alternatives allows; None if they are too many."""
    if branch.get("type") == "null":
        return [_Option(None, NO_VALUE_MEANING)]
    if "const" in branch or "enum" in branch:
        return _read_choices(branch)
    if _is_boolean(branch):
        return [_Option(value=True, meaning="yes"), _Option(value=False, meaning="no")]
    if _is_whole_number(branch):
        minimum, maximum = _whole_bounds(branch)
        if not 0 <= maximum - minimum < MAX_OPTIONS:
            return None
        return [_Option(number) for number in range(minimum, maximum + 1)]
    return None


def _read_choices(branch: Mapping[str, Any]) -> list[_Option]:
    """Return the options of an enum or a constant.

    The description of a single choice in a union is the meaning of that choice.
    """
    choices = [branch["const"]] if "const" in branch else branch["enum"]
    meanings = dict(object_or_empty(branch.get(OPTION_MEANINGS_KEYWORD)))
    for term in branch.get(VOCABULARY, {}).get("terms", ()):
        meanings[term["name"]] = describe_meaning(term)
    texts = list_choice_texts(choices)
    if len(choices) == 1 and texts and isinstance(branch.get("description"), str):
        meanings.setdefault(texts[0], branch["description"])

    options = [_Option(text, str(meanings.get(text, ""))) for text in texts]
    if None in choices:
        options.append(_Option(None, NO_VALUE_MEANING))
    return options


def _is_boolean(branch: Mapping[str, Any]) -> bool:
    """Return whether a node allows true and false, and is no enum."""
    return branch.get("type") == "boolean" and "enum" not in branch and "const" not in branch


def _is_whole_number(branch: Mapping[str, Any]) -> bool:
    """Return whether a node allows every whole number between two bounds, and is no enum."""
    has_minimum = "minimum" in branch or "exclusiveMinimum" in branch
    has_maximum = "maximum" in branch or "exclusiveMaximum" in branch
    is_plain = not {"enum", "const", "multipleOf"} & branch.keys()
    return branch.get("type") == "integer" and is_plain and has_minimum and has_maximum


def _whole_bounds(branch: Mapping[str, Any]) -> tuple[int, int]:
    """Return the smallest and the largest whole number of a node, both inclusive."""
    minimums = [branch["minimum"]] if "minimum" in branch else []
    if "exclusiveMinimum" in branch:
        minimums.append(branch["exclusiveMinimum"] + 1)
    maximums = [branch["maximum"]] if "maximum" in branch else []
    if "exclusiveMaximum" in branch:
        maximums.append(branch["exclusiveMaximum"] - 1)
    return max(minimums), min(maximums)


def _name_options(options: Sequence[_Option]) -> dict[str, _Option]:
    """Return options by id, in their order.

    The id is the text of the value. A missing value, and a text that the API does not accept as an
    id, get an id of ours that no other option has.
    """
    texts = {option.text for option in options if option.value is not None}
    options_by_id: dict[str, _Option] = {}
    for index, option in enumerate(options):
        option_id = option.text
        if option.value is None or not _is_option_id(option_id):
            option_id = NO_VALUE_ID if option.value is None else f"option {index + 1}"
            while option_id in texts:
                option_id = f"({option_id})"
        options_by_id[option_id] = option
    return options_by_id


def _is_option_id(text: str) -> bool:
    """Return whether the API accepts a text as the id of an option.

    It must not be empty, must have no blanks at its ends and no control characters (types of
    google-genai 3.3.0).
    """
    return bool(text) and text == text.strip() and text.isprintable()
