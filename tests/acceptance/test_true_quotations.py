"""Quotations of the visible text are accepted despite mark-up, entities, line breaks and a slip."""

import csv
import io

from tests.acceptance.product import Workspace, write_declaration
from tests.outside.answers import Json, user_text
from tests.outside.server import Outside

# Text of the row, quotations of the model, and the stored slices or None for an invalid answer.
QUOTATIONS: list[tuple[str, list[str], list[str] | None]] = [
    (
        "The <b>ferry</b> was full again today.",
        ["The ferry was full"],
        ["The <b>ferry</b> was full"],
    ),
    ("It rained.<br>The guide<br>was kind.", ["The guide was kind"], ["The guide<br>was kind"]),
    (
        "> The ferry was full\n> and we waited",
        ["ferry was full and we waited"],
        ["ferry was full\n> and we waited"],
    ),
    (
        "It&#39;s &quot;no&quot; for M&uuml;nchen &amp; us",
        ["It\u2019s “no” for München & us", '"no"', "MÜNCHEN"],
        ["It&#39;s &quot;no&quot; for M&uuml;nchen &amp; us", "&quot;no&quot;", "M&uuml;nchen"],
    ),
    (
        "We paid &euro;12 &hellip; if &gt;&nbsp;20 &#x63;ame, &notaname; too.",
        ["paid €12 … if > 20 came, &notaname; too", "paid &euro;12"],
        ["paid &euro;12 &hellip; if &gt;&nbsp;20 &#x63;ame, &notaname; too", "paid &euro;12"],
    ),
    ("the ferry was ful again", ["the ferry was full again"], ["the ferry was ful again"]),
    ("渡船今天又\n满了。我们等了很久", ["渡船今天又满了"], ["渡船今天又\n满了"]),
    (
        "Slow queue. Cold soup. Slow queue.",
        ["Slow queue.", "Slow queue."],
        ["Slow queue.", "Slow queue."],
    ),
    (
        "Over 10<sup>2</sup> guests came to see the ferry.",
        ["Over 102 guests came to see the ferry."],
        None,
    ),
    ("The ferry needs &frac12; an hour.", ["The ferry needs ¾ an hour."], None),
    ("The guide from M&uuml;nchen was late.", ["The guide from Mönchen was late."], None),
    (
        "It took > 5 hours to reach the other side.",
        ["It took 5 hours to reach the other side."],
        None,
    ),
    (
        "The ferry was never late on the way home.",
        ["The ferry was ever late on the way home."],
        None,
    ),
]


def test_visible_text_can_be_quoted(served_workspace: Workspace, outside_server: Outside) -> None:
    """Stored slices are exact, repeated quotations differ in place, and changed numbers fail."""
    table = io.StringIO()
    rows = csv.writer(table)
    rows.writerow(["id", "text"])
    rows.writerows((number, text) for number, (text, _, _) in enumerate(QUOTATIONS))
    served_workspace.write_file("tasks/rows.csv", table.getvalue())
    task_file = write_declaration({"quotes": "list[Quote]"}, prompt="{text}", items="rows.csv")
    served_workspace.write_file("tasks/quotes.py", task_file)
    served_workspace.task = "quotes"

    def answer(request: Json) -> Json:
        """Return the quotations of the requested row."""
        shown_text = user_text(request)
        return {"quotes": next(quotes for text, quotes, _ in QUOTATIONS if text in shown_text)}

    outside_server.answerer = answer

    served_workspace.run_command("tag", mode="live", yes=True)

    stored = {int(row["id"]): row["quotes"] for row in served_workspace.exported_rows()}
    for number, (text, _, slices) in enumerate(QUOTATIONS):
        quotes = stored[number]
        assert (quotes and [quote["quote"] for quote in quotes]) == slices, (text, quotes)
        for quote in quotes or []:
            assert text[quote["start"] : quote["end"]] == quote["quote"]

    # A repeated quotation has the positions of both occurrences.
    number, text = next(
        (n, row[0]) for n, row in enumerate(QUOTATIONS) if row[0].startswith("Slow")
    )
    assert [quote["start"] for quote in stored[number]] == [0, text.rindex("Slow")]
