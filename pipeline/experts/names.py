"""Names of the table of people, and the command that brings people in."""

from pipeline.core.command_hint import CommandHint, HintTemplate

EXPERTS = "experts"
# This index is created last: if it exists, the adoption of the table was completed.
ADOPTION_INDEX = "findable_experts_unscored"
HOW_TO_BEGIN = HintTemplate("`{}` brings people in", CommandHint("import", experts="people.csv"))
