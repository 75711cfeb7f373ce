"""The tags task: which domains does this person know?"""

from pipeline.core.task import Task, Words
from pipeline.experts import table
from pipeline.experts.hooks import ExpertsHooks
from pipeline.experts.prompts import CURRENT, TagsPrompt
from pipeline.experts.tags_rows import TagsRows

HOW_TO_FILL = "`make import EXPERTS=people.csv` brings people in"


def tags_task(asked: TagsPrompt = CURRENT) -> Task:
    """Return the task of people under one version."""
    return Task(
        name=table.TASK,
        label=asked.label,
        answer_tokens=asked.answer_tokens,
        words=Words(
            one="person",
            many="people",
            done="tagged",
            all_done="everyone with a bio is tagged, claimed or parked",
            input="biography",
            inputs="biographies",
            after="make index",
        ),
        how_to_fill=HOW_TO_FILL,
        rows=TagsRows(asked),
        hooks=ExpertsHooks(),
    )


TAGS = tags_task()
