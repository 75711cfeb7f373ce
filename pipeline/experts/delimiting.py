"""What a question tells of a person stands between tags of these names, which nothing in it can close."""

from functools import partial

from pipeline import delimiting

NAMES = ("username", "job_title", "biography")
delimited = partial(delimiting.delimited, names=NAMES)  # of one of those names
