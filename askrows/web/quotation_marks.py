"""Mark the quotations of an answer in its text, with a colour for each.

A hue is the number of a colour. A mark is a quotation at its offsets in the text, with its hue.
"""

from collections.abc import Mapping
from typing import Any

from askrows.pipeline.core.quotes import is_quotation
from askrows.web.render import (
    HUE_COUNT,
    Mark,
)

# Longer texts of an object are not its topic.
MAX_TOPIC_CHARS = 60


def color_quotations(answer: Any) -> tuple[Any, list[Mark]]:
    """Return an answer with a `hue` in each quotation, and the marks of its quotations.

    Quotations of one field have the same hue. In an object with a short text, such as the name of
    a topic, they have a hue of that text instead.
    """
    colorer = _QuotationColorer()
    return colorer.mark_quotations(answer, field_name="", topic=""), colorer.marks


class _QuotationColorer:
    """Adds hues to the quotations of an answer and collects their marks."""

    def __init__(self) -> None:
        self.marks: list[Mark] = []
        self._hues: dict[str, int] = {}

    def mark_quotations(self, value: Any, *, field_name: str, topic: str) -> Any:
        """Return a copy of a value in which each quotation has a `hue`; add the marks to `marks`.

        Quotations with the same topic, or without a topic in the same field, have the same hue.

        Args:
            value: A value of an answer, of any depth.
            field_name: The nearest field that contains the value; "" for the whole answer.
            topic: The short text of the nearest object that has one, or "".
        """
        if isinstance(value, Mapping) and is_quotation(value):
            return self._mark_quotation(value, topic or field_name.replace("_", " "))
        if isinstance(value, Mapping):
            return self._mark_quotations_in_object(value, field_name, topic)
        if isinstance(value, list):
            return [
                self.mark_quotations(member, field_name=field_name, topic=topic) for member in value
            ]
        return value

    def _mark_quotation(self, quotation: Mapping[str, Any], name: str) -> dict[str, Any]:
        """Add the mark of a quotation to `marks`; return a copy of the quotation with its `hue`.

        A quotation without whole numbers as offsets gets a hue, but no mark. Hues repeat after
        HUE_COUNT names.

        Args:
            quotation: The quotation.
            name: The topic or field whose quotations have the same hue, and the name of the mark. A
                new name gets the next hue.
        """
        hue = self._hues.setdefault(name, len(self._hues))
        start = quotation["start"]
        end = quotation["end"]
        # Members of the user's own model may have these names and other types.
        if isinstance(start, int) and isinstance(end, int):
            self.marks.append(Mark(start, end, quotation["quote"], name, hue))
        return {**quotation, "hue": hue % HUE_COUNT}

    def _mark_quotations_in_object(
        self,
        members: Mapping[Any, Any],
        field_name: str,
        topic: str,
    ) -> dict[Any, Any]:
        """Return a copy of an object in which each quotation, of any depth, has a hue.

        The topic of an object's members is its first text of at most MAX_TOPIC_CHARS characters,
        else the topic of its parent. The answer itself has no topic.

        Args:
            members: The object.
            field_name: The nearest field that contains the object; "" for the answer itself.
            topic: The topic of the parent, or "".
        """
        member_topic = ""
        if field_name:
            member_topic = next(filter(_is_short_text, members.values()), topic)
        return {
            name: self.mark_quotations(
                member,
                field_name=name if isinstance(name, str) else field_name,
                topic=member_topic,
            )
            for name, member in members.items()
        }


def _is_short_text(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= MAX_TOPIC_CHARS
