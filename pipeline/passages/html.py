"""Show passages with their quotations marked as HTML: a part of a page, or one file with all that it needs.

Whatever stands in a text, a name or a type is shown as text. A colour stands for a type, by a class and not by a style,
so that a page may forbid styles in its parts; what a mark means is told where it is pointed at, and by keyboard.
"""

from collections.abc import Iterable, Iterator, Sequence
from html import escape
from zlib import crc32

from pipeline.core.answer_paths import likeness_told
from pipeline.passages.answer import CONCEPT_TYPES
from pipeline.passages.marked import MarkedPassage, MarkedVersion, Segment

COLOURS = 12  # of types; those of other programs share what the known ones leave
STYLE = """
.passage,.legend{overflow-wrap:anywhere}
.passage{padding:0 0 3rem;content-visibility:auto;contain-intrinsic-size:auto 20rem}
.passage h2{font-size:1rem;margin:0 0 .25rem}
.passage .source,.passage .others{color:var(--quiet,#5b6270);font-size:.875rem;margin:.25rem 0}
.versions{display:grid;gap:1rem;grid-template-columns:repeat(auto-fit,minmax(min(100%,22rem),1fr))}
.version h3{font-size:.875rem;font-weight:600;margin:0 0 .25rem}
.quoted{white-space:pre-wrap;line-height:1.9;margin:0}
.q{color:inherit;background:hsl(var(--c) var(--sat,70%) var(--light,86%));position:relative;border-radius:2px;
padding:.1em 0 .25em}
.q,.q .u{text-decoration:underline 2px hsl(var(--c) 60% var(--deep,35%));text-underline-offset:.25em;
text-decoration-skip-ink:none}
.q .u{text-underline-offset:calc(.25em + 3px)}.q .u .u{text-underline-offset:calc(.25em + 6px)}
.q .u .u .u{text-underline-offset:calc(.25em + 9px)}
.q:focus-visible{outline:2px solid currentColor;outline-offset:2px}
.q .tip{display:none;position:absolute;z-index:2;left:0;top:100%;width:max-content;max-width:min(20rem,80vw);
white-space:normal;line-height:1.4;font-size:.8125rem;padding:.35rem .5rem;border-radius:4px;
background:var(--tip,#1d2129);color:var(--tip-text,#fff)}
.q:hover>.tip,.q:focus>.tip{display:block}
@media (max-width:40rem){.q .tip{position:fixed;left:.75rem;right:.75rem;top:auto;bottom:.75rem;width:auto;
max-width:none}}
.legend{display:flex;flex-wrap:wrap;gap:.35rem .9rem;list-style:none;margin:0 0 1.5rem;padding:0}
.legend .q{padding:.1em .4em}
.c0{--c:210}.c1{--c:150}.c2{--c:30}.c3{--c:280}.c4{--c:0}.c5{--c:180}.c6{--c:55}.c7{--c:320}.c8{--c:90}.c9{--c:240}
.c10{--c:15}.c11{--c:120}
@media (prefers-color-scheme:dark){.q{--sat:45%;--light:26%;--deep:65%}}
@media (prefers-color-scheme:dark){.passage .source,.passage .others{color:var(--quiet,#a4adbb)}}
"""
_PAGE = """
:root{color-scheme:light dark;--back:#fff;--text:#1d2129;--quiet:#5b6270;--tip:#1d2129;--tip-text:#fff}
@media (prefers-color-scheme:dark){
:root{--back:#14171c;--text:#e6e9ee;--quiet:#a4adbb;--tip:#e6e9ee;--tip-text:#14171c}}
body{background:var(--back);color:var(--text);font:1rem/1.6 system-ui,sans-serif;max-width:75rem;margin:0 auto;
padding:1.5rem clamp(.75rem,4vw,2rem)}
h1{font-size:1.35rem;margin:0 0 .25rem}
"""
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


def document(passages: Iterable[MarkedPassage], *, types: Sequence[str], title: str) -> Iterator[bytes]:
    """Yield one file of HTML that needs nothing else and runs nothing: a legend of the types, then each passage."""
    head = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        '<meta name="referrer" content="no-referrer">'
        f"<title>{escape(title)}</title><style>{_PAGE}{STYLE}</style></head><body><main>\n<h1>{escape(title)}</h1>\n"
        f"{legend(types)}\n"
    )
    yield _encoded(head)
    is_empty = True
    for one in passages:
        is_empty = False
        yield _encoded(f"{fragment(one)}\n")
    yield _encoded(f"{'<p>No passage has a concept.</p>' if is_empty else ''}</main></body></html>\n")


def legend(types: Sequence[str]) -> str:
    """Return a list of types in their colours, as HTML."""
    listed = "".join(f'<li><span class="q {_colour(one)}">{escape(one)}</span></li>' for one in types)
    return f'<ul class="legend" aria-label="Types of concepts">{listed}</ul>' if types else ""


def fragment(passage: MarkedPassage, *, most: int | None = None) -> str:
    """Return a passage with its quotations marked, two versions side by side, as HTML in which all is escaped.

    Of one that nothing is quoted of there is the text, no more than `most` characters of it.
    """
    source = f'<p class="source" dir="auto">{escape(passage.source)}</p>' if passage.source else ""
    left = ", ".join(map(escape, passage.left_out))
    older = f'<p class="others">Not shown: {left}</p>' if left else ""
    versions = "".join(map(_version, passage.versions)) or _unquoted(passage.text, most)
    name = f'<h2 dir="auto">{escape(passage.id)}</h2>'
    return f'<article class="passage">{name}{source}<div class="versions">{versions}</div>{older}</article>'


def _version(version: MarkedVersion) -> str:
    others = ", ".join(f"{escape(name)} ({escape(kind)})" if kind else escape(name) for name, kind in version.others)
    unproven = f'<p class="others">Without a quotation: {others}</p>' if others else ""
    text = "".join(map(_segment, version.segments))
    name = f"<h3>{escape(version.extractor or 'no version')}</h3>"
    return f'<section class="version">{name}<p class="quoted" dir="auto">{text}</p>{unproven}</section>'


def _unquoted(text: str, most: int | None) -> str:
    """Return the text, or its beginning, of a passage that nothing is quoted of."""
    cut = text if most is None or len(text) <= most else f"{text[:most].rstrip()} …"
    none = '<p class="others">Nothing is quoted of it so far.</p>'
    return f'<section class="version"><p class="quoted" dir="auto">{escape(cut)}</p>{none}</section>'


def _segment(segment: Segment) -> str:
    """Return a part of a text; one that is quoted has a line for each type, and tells all that quote it.

    Its colour is that of the shortest quotation.
    """
    if not segment.quotations:
        return escape(segment.text)
    named = dict.fromkeys(
        (f"{one.concept} ({one.type})" if one.type else one.concept) + likeness_told(one._asdict())
        for one in segment.quotations
    )
    tip = "; ".join(map(escape, named))
    first, *others = dict.fromkeys(_colour(one.type) for one in segment.quotations)
    lines = "".join(f'<span class="u {one}">' for one in others)
    return (
        f'<mark class="q {first}" tabindex="0">{lines}{escape(segment.text)}{"</span>" * len(others)}'
        f'<span class="tip" role="tooltip">{tip}</span></mark>'
    )


def _colour(kind: str) -> str:
    """Return the class of a type's colour: the same wherever it is shown."""
    known = kind.strip().casefold()
    if known in CONCEPT_TYPES:
        return f"c{CONCEPT_TYPES.index(known)}"
    return f"c{len(CONCEPT_TYPES) + crc32(known.encode('utf-8', 'replace')) % (COLOURS - len(CONCEPT_TYPES))}"


def _encoded(text: str) -> bytes:
    """Return text as UTF-8; what is no text becomes a sign that something is missing."""
    return text.encode("utf-8", "replace")
