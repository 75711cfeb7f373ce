"""What must hold in a workspace at any moment when no command runs, whatever was killed before: one function for each.

Each yields a sentence for each violation and nothing when all is well. They read the database, the files and the API's
own list, with no code of the product. `INVARIANTS` has all of them by name; `SETTLED` those that hold only once there
is nothing left to do.
"""

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.soak.look import Look, Row, is_forgotten, tags_of

OUTCOMES = ("answered", "refused", "invalid", "missing")
OVER = frozenset({"ingested", "failed"})
MOVES = {
    "prepared": {"submitting", "failed"},
    "submitting": {"prepared", "submitting", "submitted"},
    "submitted": {"downloaded", "failed"},
    "downloaded": {"ingested", "failed"},
}
MOST_CHARGED = 2
FORGETTING = "is being forgotten"
NEAR = timedelta(seconds=1)  # a sender was stopped so soon after its intent was written down
FIXED = ("request_file", "requests", "remote_name", "result_file", "answered", "cost")
STABLE = ("faiss.index", "metadata.json")  # the paths that readers know
SPENDING = frozenset({"submitting", "submitted", "downloaded"})
FREE = frozenset({"throttled", "not sent"})  # ends of live calls that cost nothing
PRICES = {"gemini-3.5-flash-lite": (0.30, 2.50)}  # USD for a million tokens, as Google lists them; a batch: half
CENT_PARTS = 1e-6

Invariant = Callable[[Look], Iterator[str]]


def database_is_sound(here: Look) -> Iterator[str]:
    """SQLite finds nothing wrong with its file, and no row points at nothing."""
    yield from here.damage


def status_adds_up(here: Look) -> Iterator[str]:
    """`status` counts each person in one of five ways, and as often as the rows say."""
    claimed = {row["item_id"] for row in here.rows["requests"] if row["open"] and row["batch"] is not None}
    parked = {row["item_id"] for row in here.rows["parked"]}
    found: Counter[str] = Counter()
    for key, row in here.people.items():
        bio = "untagged" if (row["bio"] or "").strip() else "no_bio"
        found["tagged" if tags_of(row) else "claimed" if key in claimed else "parked" if key in parked else bio] += 1
    said = {name: count for name, count in here.status["experts"].items() if count and name != "total"}
    if said != found or here.status["experts"]["total"] != len(here.people):
        yield f"status says {here.status['experts']}, the rows say {dict(found)} of {len(here.people)}"
    states = Counter(row["state"] for row in here.rows["batches"])
    if {name: count for name, count in here.status["batches"].items() if count} != states:
        yield f"status says {here.status['batches']}, the rows say {dict(states)}"


def claims_have_live_batches(here: Look) -> Iterator[str]:
    """No person is claimed by a batch that is over, or twice; a batch that is not over still claims its people."""
    claims = Counter(row["item_id"] for row in here.rows["requests"] if row["open"])
    yield from (f"item {item} is claimed {count} times" for item, count in claims.items() if count > 1)
    for row in here.rows["requests"]:
        state = here.batches[row["batch"]]["state"] if row["batch"] is not None else ""
        if row["open"] and state in OVER:
            yield f"item {row['item_id']} is claimed by batch {row['batch']}, which is {state}"
        if not row["open"] and state in {"prepared", "submitting", "submitted"}:
            yield f"item {row['item_id']} is not claimed any more by batch {row['batch']}, which is {state}"


def batches_account_for_every_request(here: Look) -> Iterator[str]:
    """Each request of an ingested batch has one outcome, and as many answers and attempts are stored as it counts."""
    outcomes: dict[int, Counter[str]] = defaultdict(Counter)
    for row in here.rows["requests"]:
        outcomes[row["batch"]][row["outcome"] or "none"] += 1
    stored = {name: Counter(row["batch"] for row in here.rows[name]) for name in ("answers", "attempts")}
    for number, batch in here.batches.items():
        if sum(outcomes[number].values()) != batch["requests"]:
            yield f"batch {number} has {batch['requests']} requests, {sum(outcomes[number].values())} are kept"
        if batch["state"] != "ingested":
            continue
        counted = Counter({name: batch[name] for name in OUTCOMES if batch[name]})
        if counted != outcomes[number] or sum(counted.values()) != batch["requests"]:
            yield f"batch {number} counts {dict(counted)}, its requests say {dict(outcomes[number])}"
        failed = batch["requests"] - batch["answered"]
        if (stored["answers"][number], stored["attempts"][number]) != (batch["answered"], failed):
            yield f"batch {number}: {stored['answers'][number]} answers, {stored['attempts'][number]} attempts stored"


def nobody_is_answered_twice(here: Look) -> Iterator[str]:
    """No answer is applied twice, no person answered is asked again, and none is charged a third time."""
    applied = Counter(whom(row) for row in here.rows["answers"] if row["applied"] and not is_forgotten(row))
    yield from (f"{one} had {count} answers applied" for one, count in applied.items() if count > 1)
    kept = [row for row in here.rows["requests"] if not is_forgotten(row)]
    answered = Counter(whom(row) for row in kept if row["outcome"] == "answered")
    yield from (f"{one} was asked and answered {count} times" for one, count in answered.items() if count > 1)
    asked = {(row["batch"], row["item_id"]): whom(row) for row in kept}
    held = (row for row in here.rows["attempts"] if row["charged"] and not row["forgiven"] and not is_forgotten(row))
    charged = Counter(asked[row["batch"], row["item_id"]] for row in held if row["batch"] is not None)
    yield from (f"{one} was charged {count} times" for one, count in charged.items() if count > MOST_CHARGED)


def tags_come_from_answers(here: Look) -> Iterator[str]:
    """Who has tags has them from one answer, word for word; who was tagged by hand keeps those tags."""
    applied = (row for row in here.rows["answers"] if row["applied"] and not is_forgotten(row))
    given = {whom(row): json.loads(row["answer"])["tags"] for row in applied}
    for key, row in here.people.items():
        answer = ["by hand"] if row["username"] in here.by_hand else given.get((key, _digest(row["username"])), [])
        if tags_of(row) != answer:
            yield f"{row['username']} has tags {row['tags']}, and the answer that was applied gave {answer}"


def whom(row: Row) -> tuple[str, str]:
    """Return whom a request or an answer is about: the id, which may be given again, with a digest of the username."""
    return row["item_id"], row["input_hash"].partition(":")[0]


def _digest(username: str) -> str:
    return hashlib.sha256(username.encode()).hexdigest()[:16]


def tags_never_change(here: Look) -> Iterator[str]:
    """Tags that were seen once are the same for ever."""
    for row in here.rows["experts"]:
        before = here.memory.tags.get(row["username"])
        if before is not None and before != row["tags"]:
            yield f"{row['username']} had tags {before} and has {row['tags']}"
        if tags_of(row):
            here.memory.tags[row["username"]] = row["tags"]


def answers_reach_whom_they_are_about(here: Look) -> Iterator[str]:
    """The request that an applied answer belongs to named the person who has the tags now."""
    going = {row["item_id"] for row in here.rows["parked"] if row["reason"] == FORGETTING}  # their lines go first
    last = {row["item_id"]: row for row in here.rows["answers"] if row["applied"]}  # an id may be given again
    told: dict[int, dict[str, str]] = {}
    for item, row in last.items():
        person, number = here.people.get(item), row["batch"]
        if person is None or not tags_of(person) or person["username"] in here.by_hand or item in going:
            continue
        if number is None or number in here.cleaned:
            continue
        if number not in told:
            told[number] = _questions(here.data / here.batches[number]["request_file"])
        question = told[number].get(f"{row['task']}/{item}", "nothing")
        if f"<username>{person['username']}</username>" not in question:
            yield f"{person['username']} has the tags of an answer about somebody else: {question[:80]}"


def _questions(path: Path) -> dict[str, str]:
    lines = [json.loads(line) for line in path.read_bytes().split(b"\n") if line]
    return {line["key"]: line["request"]["contents"][0]["parts"][0]["text"] for line in lines}


def batches_move_as_allowed(here: Look) -> Iterator[str]:
    """Every batch went only along the allowed moves, each from where the last one left it, to where it stands."""
    stands: dict[str, str | None] = {}
    for row in here.rows["events"]:
        if row["kind"] != "batch":
            continue
        old, new = row["old"], row["new"]
        if stands.get(row["name"]) != old:
            yield f"batch {row['name']} moved from {old}, and stood at {stands.get(row['name'])}"
        if old is not None and old != new and new not in MOVES.get(old, ()):
            yield f"batch {row['name']} moved from {old} to {new}"
        stands[row["name"]] = new
    for number, batch in here.batches.items():
        if stands.get(str(number)) != batch["state"]:
            yield f"batch {number} is {batch['state']}, its events left it {stands.get(str(number))}"


def what_is_fixed_stays(here: Look) -> Iterator[str]:
    """Names, files and accounts of a batch never change once they are written, and no batch goes away."""
    for number, before in here.memory.batches.items():
        now = here.batches.get(number, {})
        for name in FIXED:
            if before.get(name) is not None and now.get(name) != before[name]:
                yield f"batch {number}: {name} was {before[name]!r} and is {now.get(name)!r}"
        if before["state"] in OVER and now.get("state") != before["state"]:
            yield f"batch {number} was {before['state']} and is {now.get('state')}"
    here.memory.batches = here.batches
    if here.memory.workspace_id not in {"", here.status["workspace_id"]}:
        yield "the workspace has another id"
    here.memory.workspace_id = here.status["workspace_id"]


def remote_batches_are_ours(here: Look) -> Iterator[str]:
    """Every remote batch was a recorded try, and a second one of a batch is a recorded twin or not yet looked for."""
    tries = {row["display_name"]: row["batch"] for row in here.rows["tries"]}
    yield from (f"{one['name']} was never tried" for one in here.remote if one["displayName"] not in tries)
    twins = {row["remote_name"] for row in here.rows["twins"]}
    names = {row["remote_name"]: number for number, row in here.batches.items() if row["remote_name"]}
    there = {one["name"] for one in here.remote}
    yield from (f"batch {names[name]} is {name}, which the API never made" for name in sorted(names.keys() - there))
    if here.is_settled:
        loose = [one for one in here.remote if one["name"] not in twins | names.keys()]
        yield from (f"{one['name']} ({one['displayName']}) is known to nobody here" for one in loose)


def each_try_is_sent_once(here: Look) -> Iterator[str]:
    """No create was sent twice under one name, and none under a name that was not written down before."""
    tries = {row["display_name"] for row in here.rows["tries"]}
    for name, count in Counter(here.creates).items():
        if count > 1:
            yield f"the create {name} was sent {count} times"
        if name not in tries:
            yield f"the create {name} was sent and never written down"


def second_batches_are_explained(here: Look) -> Iterator[str]:
    """A second remote batch was made by a sender that was stopped as it sent, or out of one create by the API."""
    names = Counter(one["displayName"] for one in here.remote)
    same = sum(count - 1 for count in names.values())
    if same > here.doubled:
        yield f"{same} second remote batches of one name, and {here.doubled} creates that the API doubled"
    tries = {row["display_name"]: row for row in here.rows["tries"]}
    made: dict[int, list[datetime]] = defaultdict(list)
    for name in names.keys() & tries.keys():
        made[tries[name]["batch"]].append(datetime.fromisoformat(tries[name]["sent_at"]).replace(tzinfo=UTC))
    for number, sent in made.items():
        if len(sent) > 1 and not any(began - NEAR < one < ended + NEAR for one in sent for began, ended in here.stops):
            yield f"batch {number} was made {len(sent)} times, and nobody stood still when it was sent"


def sealed_files_are_as_sealed(here: Look) -> Iterator[str]:
    """Each request and result file has the hash that was recorded, unless it was removed or is being cut on purpose."""
    if here.is_forgetting and not here.is_settled:
        return  # a new hash is committed before its file takes the old one's place
    for number, batch in here.batches.items():
        for kind in ("request", "result"):
            name, wanted = batch[f"{kind}_file"], batch[f"{kind}_sha256"]
            path = here.data / (name or "")
            if not name or (number in here.cleaned and not path.is_file()):
                continue
            if not path.is_file():
                yield f"batch {number}: {name} is gone"
            elif hashlib.sha256(path.read_bytes()).hexdigest() != wanted:
                yield f"batch {number}: {name} has other bytes than were sealed"


def nothing_is_left_to_do(here: Look) -> Iterator[str]:
    """Each person with a biography is tagged or parked, every batch is over, and nothing half-written lies about."""
    for name in ("untagged", "claimed"):
        if here.status["experts"][name]:
            yield f"{here.status['experts'][name]} people are still {name}"
    yield from (f"batch {number} is still {row['state']}" for number, row in here.batches.items() if _is_open(row))
    yield from (f"{path.relative_to(here.data)} is left" for path in sorted(here.data.rglob("*.part")))
    yield from (f"{path.name} is left" for path in sorted((here.data / "index" / "builds").glob("*.staging")))
    known = {batch[name] for batch in here.batches.values() for name in ("request_file", "result_file")}
    lying = {path.relative_to(here.data).as_posix() for path in (here.data / "batches").glob("*")}
    yield from (f"{name} belongs to no batch" for name in sorted(lying - known))


def _is_open(row: dict[str, object]) -> bool:
    return row["state"] not in OVER


def spend_adds_up(here: Look) -> Iterator[str]:
    """Each batch costs what its answers and attempts cost, and `status` says the sum of all, and of the estimates."""
    paid: dict[int | None, float] = defaultdict(float)
    for row in here.rows["answers"] + here.rows["attempts"]:
        paid[row["batch"]] += row["cost"]
        if abs(row["cost"] - _price(here, row)) > CENT_PARTS:
            yield f"item {row['item_id']} of batch {row['batch']} costs {row['cost']}, its tokens {_price(here, row)}"
    for number, batch in here.batches.items():
        if batch["state"] == "ingested" and abs(batch["cost"] - paid[number]) > CENT_PARTS:
            yield f"batch {number} costs {batch['cost']}, its lines {paid[number]}"
    total = sum(paid[number] for number, batch in here.batches.items() if batch["cost"] is not None) + paid[None]
    estimated = sum(row["estimated_cost"] for row in here.rows["batches"] if row["state"] in SPENDING)
    estimated += sum(row["estimated_cost"] for row in here.rows["twins"])
    unseen = [row for row in here.rows["calls"] if row["cost"] is None and row["outcome"] not in FREE]
    estimated += sum(row["estimated_cost"] for row in unseen)  # under way, or lost by a kill
    said = here.status["spent"]
    if abs(said["actual"] - total) > CENT_PARTS or abs(said["estimated"] - estimated) > CENT_PARTS:
        yield f"status says {said}, the rows say {total} and {estimated}"


def _price(here: Look, row: Row) -> float:
    """Return what the tokens of one row cost, in USD."""
    is_batch = row["batch"] is not None
    price_in, price_out = PRICES[here.batches[row["batch"]]["model"] if is_batch else here.status["model"]]
    return float(row["tokens_in"] * price_in + row["tokens_out"] * price_out) / (2_000_000 if is_batch else 1_000_000)


def index_is_of_one_build(here: Look) -> Iterator[str]:
    """Vectors, metadata and manifest are of one build, as they were verified, also through the stable paths."""
    import faiss

    current = here.data / "index" / "current"
    if not current.is_symlink():
        if here.memory.had_index:
            yield "there was an index, and now there is none"
        return
    here.memory.had_index = True
    directory = current.resolve()
    manifest = json.loads((directory / "manifest.json").read_bytes())
    for name, wanted in manifest["hashes"].items():
        path = directory / name
        if path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() != wanted:
            yield f"{name} of build {directory.name} has other bytes than it was verified with"
    people = json.loads((directory / "metadata.json").read_bytes())
    vectors = faiss.read_index(str(directory / "faiss.index")).ntotal
    if not len(people) == vectors == manifest["count"]:
        yield f"build {directory.name}: {vectors} vectors, {len(people)} people, the manifest says {manifest['count']}"
    for name in STABLE:
        if (here.data / name).resolve() != directory / name:
            yield f"{name} leads to {(here.data / name).resolve()}, and {directory.name} is in service"


def index_holds_everybody(here: Look) -> Iterator[str]:
    """Once there is nothing left to do, the index holds exactly the people who are tagged, with the tags they have."""
    current = here.data / "index" / "current"
    people = json.loads((current / "metadata.json").read_bytes()) if current.is_symlink() else []
    held = {one["username"]: one["tags"] for one in people}
    tagged = {row["username"]: tags_of(row) for row in here.rows["experts"] if tags_of(row)}
    if held != tagged and tagged:
        odd = sorted(name for name in held.keys() | tagged.keys() if held.get(name) != tagged.get(name))
        yield f"the index and the table differ on {len(odd)} people, the first are {odd[:3]}"


INVARIANTS: tuple[Invariant, ...] = (
    database_is_sound,
    status_adds_up,
    claims_have_live_batches,
    batches_account_for_every_request,
    nobody_is_answered_twice,
    tags_come_from_answers,
    tags_never_change,
    answers_reach_whom_they_are_about,
    batches_move_as_allowed,
    what_is_fixed_stays,
    remote_batches_are_ours,
    each_try_is_sent_once,
    second_batches_are_explained,
    sealed_files_are_as_sealed,
    index_is_of_one_build,
    spend_adds_up,
)
SETTLED: tuple[Invariant, ...] = (nothing_is_left_to_do, index_holds_everybody)


def violations(here: Look) -> list[str]:
    """Return every violation, each with the name of what it violates; of a damaged database nothing else is asked."""
    wanted = INVARIANTS + (SETTLED if here.is_settled else ())
    if here.damage:
        wanted = (database_is_sound,)
    return [f"{one.__name__}: {said}" for one in wanted for said in one(here)]
