"""Measure how readable the code is, and compare each package with `readability.toml`.

`make check` fails if a figure of a package is worse than both its goal and its recorded value.
The goals are the level of procrastinate, sqlite-utils, datasette, starlette and httpx, counted in
the same way; test code may have twice as much of everything.
"""

import ast
import io
import re
import tokenize
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[1]
PRODUCT = ROOT / "askrows"
FILE = Path(__file__).with_suffix(".toml")
MAX_LINE_LENGTH = 100

EMPTY_NAMES = "empty names, %"
EXPRESSIONS = "expressions per code line"
LONG_LINES = "long lines, %"
COMMENTS = "comment lines, %"
PACKED = "packed assignments per 1,000 statements"
CONDITIONALS = "conditional expressions per 1,000 statements"
NESTED = "nested conditional expressions per 1,000 statements"
TWO_LOOPS = "comprehensions with two loops per 1,000 statements"
PROSE = "convoluted phrases per 1,000 words"
MESSAGES = "convoluted phrases in messages per 1,000 words"

# Each figure is at most its goal, except the share of comments, which is at least its goal.
GOALS = {
    EMPTY_NAMES: 1.5,
    EXPRESSIONS: 3.5,
    LONG_LINES: 0.0,
    COMMENTS: 2.0,
    PACKED: 2.0,
    CONDITIONALS: 25.0,
    NESTED: 0.0,
    TWO_LOOPS: 0.5,
    PROSE: 8.0,
    MESSAGES: 8.0,
}
TESTS = "tests"
TESTS_FACTOR = 2

# A name that consists only of these words does not say what it contains.
PRONOUNS = """
    one ones some mine ours own others other there here theirs more most least few each every
    everyone everything what which why who whom whose how where when then thus since until of at by
    but beside besides behind about among near with without within between above below both all any
    none nothing alone together again anew once twice often late still alike aside apart elsewhere
    over off on up down out in to only else even same such many much several enough so not do did
    was has is had be been being be these those this that it its them they their always never ever
    already yet too also later early around inside outside front back away along across through
    fewer less rest
"""
BARE_VERBS = """
    said told found known given kept wanted made shown named asked seen done taken left gone going
    came begun began meant held chosen drawn lost tried put took noted used written listed counted
    judged opened stands stood standing telling tells says say tell lacking wrong plain whole holds
    fits takes gives works makes look looks looked ready due usual odd likely actual near brought
    begins ends ended ending waits touched grown dropped proven goes does lies
"""
EMPTY_WORDS = frozenset(PRONOUNS.split()) | frozenset(BARE_VERBS.split())

# Phrases that most readers have to read twice; docs on style name a plainer form for each.
RELATIVE_CLAUSE = (
    r"\bwhat (?:is|was|are|were|stands|stood|came|comes|goes|went|has|had|it|they|he|a|an|the|each|"
    r"another|other|others|people|there|may|must|can|cannot|follows|only|would|will|could|costs|of|"
    r"failed|fails|this)\b"
)
ONE_AS_NOUN = (
    r"\bones?\b(?!\s+(?:of the|or more|hundred|thousand|second|minute|hour|day|row|item|batch|file|"
    r"line|transaction|place|process|command|task|at a time))"
)
RELATIVE_OPENING = (
    r"(?:(?<=^)|(?<=[.:;] ))"
    r"(?:What|Who|Where|Of|Those|That|Whose|With|Without|Beside|Behind|Nothing|None)\b"
)
CONVOLUTED_PHRASES = (
    re.compile(RELATIVE_CLAUSE, re.IGNORECASE),
    re.compile(ONE_AS_NOUN, re.IGNORECASE),
    re.compile(r"\bwhere\b", re.IGNORECASE),
    re.compile(RELATIVE_OPENING, re.MULTILINE),
    re.compile(r"\b(?:stand|stands|stood|standing)\b", re.IGNORECASE),
    re.compile(r"\b(?:tell|tells|told|telling)\b", re.IGNORECASE),
    re.compile(r"\b(?:hold|holds|held)\b", re.IGNORECASE),
    re.compile(r"\b(?:is|are|was|were) none\b", re.IGNORECASE),
    re.compile(r"\bso (?:many|much|long|often|far)\b", re.IGNORECASE),
    re.compile(r"\b(?:beside|behind)\b", re.IGNORECASE),
    re.compile(r"\bbut for\b", re.IGNORECASE),
)
WORD = re.compile(r"[A-Za-z']+")
# A text of at least this many words in the code is a message, unless it is a statement of SQL.
MIN_MESSAGE_WORDS = 4
# Keyword arguments and ends of names of constants with texts for a model, not for a person.
MODEL_TEXT_KEYWORDS = {"description", "prompt", "system"}
MODEL_TEXT_CONSTANTS = ("SYSTEM", "_INSTRUCTION")
SQL = re.compile(
    r"\s*(?:SELECT|INSERT|UPDATE|DELETE|CREATE|ALTER|DROP|PRAGMA|WITH|EXPLAIN|ANALYZE|GRANT|LOCK|SET)\b"
)
# Parts of a document that are no prose: blocks of code, code in a line, and addresses.
CODE_IN_DOCUMENT = re.compile(r"```.*?```|`[^`\n]*`|\(https?://[^)]*\)", re.DOTALL)
DOCUMENTS = "docs"

COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)

Figures = dict[str, float]


@dataclass
class _Counts:
    """Raw counts of the files of one package."""

    counts: Counter[str] = field(default_factory=Counter)
    empty_names: Counter[str] = field(default_factory=Counter)
    # Docstrings and comments.
    prose: list[str] = field(default_factory=list)
    # Texts in the code that people may read.
    messages: list[str] = field(default_factory=list)

    def add_file(self, path: Path) -> None:
        source = path.read_text(encoding="utf-8")
        tree = ast.parse(source)
        docstring_lines = self._add_docstrings(tree)
        self._add_comments(source)
        self._add_messages(tree)
        self._add_lines(source, docstring_lines)
        for node in ast.walk(tree):
            self._add_node(node)
        for name in _bound_names(tree):
            self.counts["names"] += 1
            self.empty_names[name] += is_empty_name(name)

    def _add_docstrings(self, tree: ast.Module) -> set[int]:
        """Add the docstrings of a module, and return the numbers of their lines."""
        line_numbers = set[int]()
        for node in ast.walk(tree):
            docstring = ast.get_docstring(node) if isinstance(node, DOCUMENTED) else None
            if isinstance(node, DOCUMENTED) and docstring:
                expression = node.body[0]
                last_line = expression.end_lineno or expression.lineno
                line_numbers.update(range(expression.lineno, last_line + 1))
                self.prose.append(" ".join(docstring.split()))
        return line_numbers

    def _add_comments(self, source: str) -> None:
        for token in tokenize.generate_tokens(io.StringIO(source).readline):
            if token.type == tokenize.COMMENT:
                self.prose.append(token.string.lstrip("# "))

    def _add_messages(self, tree: ast.Module) -> None:
        """Add texts of at least MIN_MESSAGE_WORDS words; a value in a text is a pair of braces."""
        parts = set[ast.AST]()
        for node in ast.walk(tree):
            if isinstance(node, ast.JoinedStr):
                parts.update(node.values)
            elif isinstance(node, ast.Expr):
                # A docstring.
                parts.add(node.value)
            elif _is_for_model(node):
                # A change of a prompt would be a new version of the task, so prompts stay.
                parts.update(ast.walk(node))

        for node in ast.walk(tree):
            text = _text_of(node)
            if node in parts or len(WORD.findall(text)) < MIN_MESSAGE_WORDS or SQL.match(text):
                continue
            self.messages.append(text)

    def _add_lines(self, source: str, docstring_lines: set[int]) -> None:
        for number, line in enumerate(source.splitlines(), start=1):
            text = line.strip()
            self.counts["lines"] += 1
            if text.startswith("#"):
                self.counts["comment lines"] += 1
            elif text and number not in docstring_lines:
                self.counts["code lines"] += 1
                self.counts["long lines"] += len(line) > MAX_LINE_LENGTH

    def _add_node(self, node: ast.AST) -> None:
        is_docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        self.counts["statements"] += isinstance(node, ast.stmt) and not is_docstring
        self.counts["expressions"] += isinstance(node, ast.expr)
        if isinstance(node, ast.Assign):
            is_packed = all(isinstance(side, ast.Tuple) for side in (node.targets[0], node.value))
            self.counts[PACKED] += is_packed
        elif isinstance(node, ast.IfExp):
            parts = (node.test, node.body, node.orelse)
            self.counts[CONDITIONALS] += 1
            self.counts[NESTED] += any(isinstance(part, ast.IfExp) for part in parts)
        elif isinstance(node, COMPREHENSIONS):
            self.counts[TWO_LOOPS] += len(node.generators) > 1

    def figures(self) -> Figures:
        """Return the figures of the counted files, rounded to two decimals."""
        counts = self.counts
        figures = {
            EMPTY_NAMES: 100 * self.empty_names.total() / max(1, counts["names"]),
            EXPRESSIONS: counts["expressions"] / max(1, counts["code lines"]),
            LONG_LINES: 100 * counts["long lines"] / max(1, counts["code lines"]),
            COMMENTS: 100 * counts["comment lines"] / max(1, counts["lines"]),
            PROSE: _convoluted_share(self.prose),
            MESSAGES: _convoluted_share(self.messages),
        }
        for name in (PACKED, CONDITIONALS, NESTED, TWO_LOOPS):
            figures[name] = 1000 * counts[name] / max(1, counts["statements"])
        return {name: round(figures[name], 2) for name in GOALS}


def _is_for_model(node: ast.AST) -> bool:
    """Return whether a keyword argument or a constant contains text that is sent to a model."""
    if isinstance(node, ast.keyword):
        return node.arg in MODEL_TEXT_KEYWORDS
    if isinstance(node, ast.Assign):
        names = [target.id for target in node.targets if isinstance(target, ast.Name)]
        return any(name.endswith(MODEL_TEXT_CONSTANTS) for name in names)
    return False


def _text_of(node: ast.AST) -> str:
    """Return the text of a string or f-string, with braces for its values; "" for other nodes."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if not isinstance(node, ast.JoinedStr):
        return ""
    return "".join(_text_of(part) or "{}" for part in node.values)


def _convoluted_share(texts: Sequence[str]) -> float:
    """Return the number of convoluted phrases per 1,000 words of some texts."""
    text = "\n".join(texts)
    phrase_count = sum(len(phrase.findall(text)) for phrase in CONVOLUTED_PHRASES)
    return 1000 * phrase_count / max(1, len(WORD.findall(text)))


def is_empty_name(name: str) -> bool:
    """Return whether a name consists only of words without a meaning of their own."""
    words = name.strip("_").lower().split("_")
    return words != [""] and all(word in EMPTY_WORDS for word in words)


def _bound_names(tree: ast.Module) -> Iterator[str]:
    """Yield each name once per scope: functions, classes, parameters, variables, attributes."""

    def visit(node: ast.AST, scope: set[str]) -> Iterator[str]:
        for child in ast.iter_child_nodes(node):
            name = _bound_name(child)
            is_ignored = name in {"self", "cls"} or name.startswith("__")
            if name and name not in scope and not is_ignored:
                scope.add(name)
                yield name

            opens_scope = isinstance(child, (*DOCUMENTED, ast.Lambda, *COMPREHENSIONS))
            yield from visit(child, set() if opens_scope else scope)

    yield from visit(tree, set())


def _bound_name(node: ast.AST) -> str:
    """Return the name that a node binds, or an empty string."""
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return node.name
    if isinstance(node, ast.arg):
        return node.arg
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        return node.id
    if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
        return node.attr
    return ""


def _folders() -> dict[str, Path]:
    """Return the folder of each package of the product, and that of the tests."""
    packages = {path.parent for path in (PRODUCT / "pipeline").glob("*/__init__.py")}
    folders = {path.name: path for path in sorted(packages)}
    folders |= {name: PRODUCT / name for name in ("jobs", "web", "emulator")}
    folders[TESTS] = ROOT / TESTS
    return folders


def measure_packages() -> dict[str, Figures]:
    """Return the figures of each package of the product, of the tests, and of the documents."""
    folders = _folders()
    measured = {name: _measure(sorted(folder.rglob("*.py"))) for name, folder in folders.items()}
    # Texts of tests are cases and expected outputs.
    del measured[TESTS][MESSAGES]
    return measured | {DOCUMENTS: measure_documents()}


def measure_documents() -> Figures:
    """Return the only figure of README, CHANGELOG and docs: their prose."""
    paths = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
    texts = [CODE_IN_DOCUMENT.sub("", path.read_text(encoding="utf-8")) for path in paths]
    return {PROSE: round(_convoluted_share(texts), 2)}


def _measure(paths: Iterable[Path]) -> Figures:
    counts = _Counts()
    for path in paths:
        counts.add_file(path)
    return counts.figures()


def read_recorded() -> dict[str, Figures]:
    """Return the recorded figures of each package."""
    return tomllib.loads(FILE.read_text(encoding="utf-8"))


def goal_of(package: str, name: str) -> float:
    """Return the goal of a figure for a package."""
    if package != TESTS:
        return GOALS[name]
    return GOALS[name] / TESTS_FACTOR if name == COMMENTS else GOALS[name] * TESTS_FACTOR


def is_worse(name: str, figure: float, limit: float) -> bool:
    """Return whether a figure is on the wrong side of a limit."""
    return figure < limit if name == COMMENTS else figure > limit


def find_violations(
    measured: Mapping[str, Figures], recorded: Mapping[str, Figures]
) -> Iterator[str]:
    """Yield a sentence for each figure that is worse than its goal and its recorded value."""
    for package, figures in measured.items():
        for name, figure in figures.items():
            record = recorded.get(package, {}).get(name, figure)
            if is_worse(name, figure, goal_of(package, name)) and is_worse(name, figure, record):
                yield f"{package}: {name}: {figure}, recorded are {record}"
