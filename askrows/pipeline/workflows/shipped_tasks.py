"""The tasks that come with askrows as packages.

Programs register them for all their workspaces before they open one.
"""

from askrows.pipeline.passages import PASSAGES_TASK

SHIPPED_TASKS = (PASSAGES_TASK,)
