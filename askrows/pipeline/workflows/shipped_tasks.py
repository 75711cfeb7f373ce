"""The tasks that come with askrows: people, images and passages."""

from askrows.pipeline.experts import EXPERTS_TASK
from askrows.pipeline.images import IMAGES_TASK
from askrows.pipeline.passages import PASSAGES_TASK
from askrows.pipeline.tasks.shipped_task import register_shipped_tasks

# People are the default task, so they come first.
SHIPPED_TASKS = (EXPERTS_TASK, IMAGES_TASK, PASSAGES_TASK)


def register() -> None:
    """Register the tasks that come with askrows for all workspaces of this process.

    Programs call it before they open a workspace.
    """
    register_shipped_tasks(SHIPPED_TASKS)
