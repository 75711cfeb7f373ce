"""The tasks that come with askrows as packages: people and passages.

Programs register them for all their workspaces before they open one.
"""

from askrows.pipeline.experts import EXPERTS_TASK
from askrows.pipeline.passages import PASSAGES_TASK

# People are the default task, so they come first.
SHIPPED_TASKS = (EXPERTS_TASK, PASSAGES_TASK)
