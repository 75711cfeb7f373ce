"""Weigh the options of closed questions by the similarity of their words to a text.

The likeness of some words to a text is about 0 (another subject) to 1 (the same words); see
`values.measure_likeness`.
"""

import math
import re
from collections.abc import Mapping

from emulator.answers import values
from emulator.answers.text import find_sentence_spans, find_tagged_sections
from emulator.schema import SchemaNode

# How fast a weight grows with a likeness. At 12, a difference of 0.1 makes an option three times as
# probable.
_STEEPNESS = 12.0
# How fast the weight of a level falls with its distance from the number in the text.
_LEVEL_STEEPNESS = 1.5
# Likeness of an option that denies, such as "none of these": no word of a text shows it, so it is
# the most probable only if no other option is similar to the text.
_DENIAL_LIKENESS = 0.2
# Likeness at which yes and no are equally probable. Words of another subject have about 0.1.
_YES_LIKENESS = 0.3
# Sentences of a text that are searched for a negation.
_MAX_SENTENCES = 20
# A text in quotation marks is the subject of a question, with a remark in parentheses behind it.
_SUBJECT = re.compile(r'"([^"]+)"(?: \(([^()]*)\))?')


def choose_text(prompt: str) -> str:
    """Return the text that a prompt is about: its longest section, or all of it."""
    sections = [content for _, content in find_tagged_sections(prompt) if content.strip()]
    text = max(sections, key=len, default=prompt)
    return text[: values.MAX_SECTION_CHARS]


def weigh_statement(instructions: str, text: str) -> float:
    """Return the probability, 0 to 1, that the answer to a yes/no question is yes.

    It grows with the similarity of the question's subject to the text. The subject is the texts in
    quotation marks in the instructions, or else the instructions without question words.

    A text denies the subject if it is similar enough for a yes, its most similar sentence has a
    negation, and the subject has none. Then the result is 1 minus the probability. The result for a
    text that is less similar is never inverted.
    """
    subjects = [" ".join(match).strip() for match in _SUBJECT.findall(instructions)]
    if not subjects:
        subjects = [values.QUESTION_WORDS.sub(" ", instructions).strip() or instructions]

    likeness = max(values.measure_likeness(subject, text) for subject in subjects)
    exponent = _STEEPNESS * (_YES_LIKENESS - likeness)
    probability = 1 / (1 + math.exp(exponent))
    is_negative = values.NEGATION.search(subjects[0]) is not None
    if likeness >= _YES_LIKENESS and not is_negative and _is_denied(subjects[0], text):
        return 1 - probability
    return probability


def weigh_options(meanings: Mapping[str, str], text: str) -> dict[str, float]:
    """Return a positive weight for each option, by the similarity of its words to the text.

    The words are those of the option's name, or those of its meaning if these are more similar. An
    option with a negation, such as "none of these", has a constant low weight.

    Args:
        meanings: The meaning of each option, by the option's name; a meaning may be "".
        text: The text that the question is about.
    """
    weights = {}
    for option, meaning in meanings.items():
        likeness = _DENIAL_LIKENESS
        if not values.NEGATION.search(f"{option} {meaning}".replace("_", " ")):
            likeness = max(
                values.measure_likeness(option.replace("_", " "), text),
                values.measure_likeness(meaning, text),
            )
        weights[option] = math.exp(_STEEPNESS * likeness)
    return weights


def weigh_levels(meanings: Mapping[str, str], instructions: str, text: str) -> dict[str, float]:
    """Return a positive weight for each level of a score.

    If the meanings of all levels are whole numbers, a level weighs more the nearer its number is to
    the number of the text that fits the question best. If the text has no number in their range,
    the middle of the range counts instead. Other levels are weighed as `weigh_options` does.

    Args:
        meanings: The meaning of each level, by the level's index as text.
        instructions: The question; a number fits if the words around it are similar to its words.
        text: The text that the question is about.
    """
    if not all(re.fullmatch(r"-?\d{1,9}", meaning) for meaning in meanings.values()):
        return weigh_options(meanings, text)

    numbers = [int(meaning) for meaning in meanings.values()]
    node = SchemaNode("INTEGER", name=instructions, minimum=min(numbers), maximum=max(numbers))
    text_numbers = values.find_numbers(node, text, has_fallback=True)
    center = text_numbers[0] if text_numbers else (min(numbers) + max(numbers)) / 2
    return {
        level: math.exp(-_LEVEL_STEEPNESS * abs(number - center))
        for level, number in zip(meanings, numbers, strict=True)
    }


def _is_denied(subject: str, text: str) -> bool:
    """Return whether the sentence that is most similar to a subject contains a negation."""
    spans = find_sentence_spans(text)[:_MAX_SENTENCES]
    sentences = [text[start:end] for start, end in spans]
    best_sentence = max(
        sentences,
        key=lambda sentence: values.measure_likeness(subject, sentence),
        default="",
    )
    return values.NEGATION.search(best_sentence) is not None
