"""What must hold in the order of a command's durable steps, whatever the command; see `steps` and `watching`.

Each function takes the steps of one command that nothing befell and yields a sentence for each violation. A name is
final where neither it nor a folder above it is given up again by the same command.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import PurePath

Rule = Callable[[Sequence[str]], Iterator[str]]
IN_PLACE = {  # what is written under its final name, and why it may be
    "*.db": "SQLite keeps a database whole by its own log",
    "*.lock": "a lock is held, and never read",
    "vectors.sqlite*": "SQLite keeps a database whole by its own journal",
    "entries.sqlite*": "SQLite writes it, and it is synced before the manifest of its build is written",
    "local-engine*": "the state of the engine inside the product, which stands for another machine",
}
SERVER = ("send HTTP/", "send {}")  # what the engine inside the product says
CREATE = ":batchGenerateContent"
GIVES_UP = ("os.rename", "os.remove", "os.rmdir")


def opened_under_another_name(trail: Sequence[str]) -> Iterator[str]:
    """Nothing is opened for writing under its final name."""
    for at, (what, *paths) in _files(trail):
        if what == "open" and not _may_be_in_place(paths[0]) and _is_final(trail, at, paths[0]):
            yield f"{paths[0]} is opened under its final name"


def synced_before_renamed(trail: Sequence[str]) -> Iterator[str]:
    """Nothing gets its final name before all that was written to it is on the disk."""
    unsynced: set[str] = set()
    for at, (what, *paths) in _files(trail):
        source = paths[0]
        target = paths[-1]
        if what in {"open", "write"} and not _may_be_in_place(source):
            unsynced.add(source)
        elif what == "fsync":
            unsynced.discard(source)
        elif what in {"os.rename", "os.link"}:
            moved = {one for one in unsynced if _is_at_or_below(one, source)}
            if moved and _is_final(trail, at, target):
                yield f"{target} gets its name before {sorted(moved)} is synced"
            unsynced |= {target + one[len(source) :] for one in moved}
            unsynced -= moved if what == "os.rename" else set()
        elif what == "os.remove":
            unsynced.discard(source)
    yield from (f"{one} is written and never synced" for one in sorted(unsynced))


def folder_synced_before_named(trail: Sequence[str]) -> Iterator[str]:
    """A final name is on the disk before the next commit, or the end."""
    for at, (what, *paths) in _files(trail):
        if what != "os.rename" or not _is_final(trail, at, paths[1]) or _may_be_in_place(paths[1]):
            continue
        folder = str(PurePath(paths[1]).parent)
        following = (
            one for one in trail[at + 1 :] if one == f"fsync {folder}" or one.startswith("commit")
        )
        if not next(following, "").startswith("fsync"):
            yield f"{paths[1]} has its name, and its folder is not synced before the next commit"


def named_after_renamed(trail: Sequence[str]) -> Iterator[str]:
    """No commit names a file before the file has that name."""
    final: dict[str, int] = {}
    for at, (what, *paths) in _files(trail):
        if what == "os.rename" and _is_final(trail, at, paths[1]):
            final.setdefault(PurePath(paths[1]).name, at)
    for at, step in enumerate(trail):
        names = step.partition(" naming ")[2].split() if step.startswith("commit") else ()
        yield from (
            f"a commit names {name}, which is not there yet"
            for name in names
            if final.get(name, -1) > at
        )


def created_after_committed(trail: Sequence[str]) -> Iterator[str]:
    """No batch is created before its intent is committed, with nothing received in between."""
    last = ""
    for step in _of_client(trail):
        if step.startswith("send POST") and CREATE in step and last != "commit":
            yield f"a batch is created right after '{last}'"
        if step.startswith(("commit", "recv", "send POST")):
            last = step.partition(" ")[0]


RULES: tuple[Rule, ...] = (
    opened_under_another_name,
    synced_before_renamed,
    folder_synced_before_named,
    named_after_renamed,
    created_after_committed,
)


def broken(trail: Sequence[str]) -> list[str]:
    """Return what is wrong with the steps of a command."""
    return [f"{rule.__name__}: {said}" for rule in RULES for said in rule(trail)]


def _files(trail: Sequence[str]) -> Iterator[tuple[int, list[str]]]:
    """Yield the steps about files, each with its place: what is done, and the paths."""
    for index, step in enumerate(trail):
        if step.startswith(("open ", "write ", "fsync ", "os.")):
            yield index, step.split(" ")


def _is_final(trail: Sequence[str], at: int, path: str) -> bool:
    """Return whether a path, used at a step, is a name that the command does not give up afterwards."""
    later = (paths for _, (what, *paths) in _files(trail[at + 1 :]) if what in GIVES_UP)
    return not any(_is_at_or_below(path, one) for one, *to in later if to != [one])


def _is_at_or_below(path: str, folder: str) -> bool:
    return PurePath(path).is_relative_to(folder)


def _may_be_in_place(path: str) -> bool:
    return any(
        part.match(pattern)
        for pattern in IN_PLACE
        for part in (PurePath(path), *PurePath(path).parents)
    )


def _of_client(trail: Sequence[str]) -> Sequence[str]:
    """Return the steps without those of an engine in the same process, with which nothing can be told apart."""
    return () if any(step.startswith(SERVER) for step in trail) else trail
