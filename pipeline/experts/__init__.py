"""Experts: people of a table, with tags and a findability score."""

from pipeline.core.command_hint import CommandHint, HintTemplate

EXPERTS = "experts"
# This index is created last: if it exists, the adoption of the table was completed.
ADOPTION_INDEX = "findable_experts_unscored"
HOW_TO_BEGIN = HintTemplate("`{}` imports people", CommandHint("import", experts="people.csv"))
