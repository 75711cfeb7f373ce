"""What a view is: its routes, in the API and as pages, and its place among the links on top of each page."""

from typing import NamedTuple

from fastapi import APIRouter


class Link(NamedTuple):
    """A link on top of each page; one that is `of_task` leads to the task that is looked at.

    Without a label it is called what the items of the task are. With a subject it stands where the workspace has that.
    """

    href: str
    label: str = ""
    of_task: bool = True
    subject: str = ""


class View(NamedTuple):
    """A view: its routes, and its link where it has one."""

    router: APIRouter
    link: Link | None = None
