"""Blank what a text says beside its subject: citations, suppliers and their addresses, measures, references to figures.

None of it is a concept, and all of it looks like one: "Sigma-Aldrich", "St. Louis", "Roh et al.", "25 nm". Every
pattern is bounded, so that a text of any length takes time in proportion to its length.
"""

import re

_COUNTRIES = (
    r"U\.?S\.?A\.?|US|UK|United (?:States|Kingdom)|England|Scotland|Ireland|Canada|Germany|France|Italy|Spain|Portugal"
    r"|Switzerland|Austria|Belgium|(?:The )?Netherlands|Denmark|Sweden|Norway|Finland|Poland|Czech Republic|Hungary"
    r"|Greece|Turkey|Russia|Ukraine|Israel|Iran|India|Pakistan|(?:P\.? ?R\.? )?China|Taiwan|Hong Kong|Japan|Singapore"
    r"|(?:South |Republic of )?Korea|Malaysia|Thailand|Vietnam|Indonesia|Australia|New Zealand|Brazil|Mexico|Argentina"
    r"|Chile|South Africa|Egypt|Saudi Arabia"
)
_STATES = (
    "A[KLRZ]|C[AOT]|D[CE]|FL|GA|HI|I[ADLN]|K[SY]|LA|M[ADEINOST]|N[CDEHJMVY]|O[HKR]|PA|RI|S[CD]|T[NX]|UT|V[AT]|W[AIVY]"
)
_FIRM = (
    r"(?:Inc|Ltd|Co\.(?:,? Ltd)?|Corp|Corporation|GmbH|LLC|Pty|Biotechnology|Biosciences|Pharmaceuticals)(?![\w-])\.?"
)
_SELLER = (
    r"\b(?:Sigma[- ]Aldrich|Merck|Millipore|Invitrogen|(?:Thermo ?)?Fisher Scientific|Thermo ?Fisher|Bio-?Rad|Roche"
    r"|Qiagen|Promega|Abcam|Life Technologies|Alfa Aesar|Macklin|Gibco|BD Biosciences|Agilent|Illumina|GE Healthcare"
    r"|Santa Cruz Biotechnology|Cell Signaling(?: Technology)?|Jackson Laboratory|Charles River|Acros Organics"
    r"|Polysciences|Shimadzu|PerkinElmer|Beckman Coulter|Eppendorf|JEOL)(?![\w-])"
)
_NAME = r"[A-Z][\w&.'\u2019-]{0,40}(?: (?:[A-Z][\w&.'\u2019-]{0,40}|of|and|&)){0,6}"
_PERSON = r"\b[A-Z][\w'\u2019-]{1,30}"
_YEAR = r"(?:19|20)\d\d[a-z]?\b"
_UNIT = (
    r"(?:[numk\u00b5\u03bc]?[ml]|cm|[num\u00b5\u03bc]M|[num\u00b5\u03bck]?g|kDa|[num\u00b5\u03bc]?s|[m\u00b5\u03bcd]?L"
    r"|mins?|hr?s?|(?:hour|minute|second|day|week|month|year)s?|[kMGT]?Hz|[kmMG]?[WV]|[kmM]?eV|[kMG]?Pa|[mk]?J|mA|K"
    r"|[\u00b0\u00ba] ?[CF]|rpm|IU|wt|vol|m?mol|ppm|bp|kb|dB|psi|bar|T)"
)

_BRACKET = re.compile(r"[(\[]([^()\[\]\0]{1,300})[)\]]")
_ADDRESS = re.compile(
    rf"(?:.{{0,200}}[,;] ?)?(?:{_COUNTRIES})|.{{1,200}}, ?(?:{_STATES})"
    rf"|.{{0,200}}\b{_FIRM}.{{0,80}}|{_SELLER}.{{0,200}}",
    re.DOTALL,
)
_POINTER = re.compile(
    rf"(?:e\.g\.,? |see (?:also )?|cf\. ?)?[A-Z].{{0,260}}\b{_YEAR}.{{0,40}}|.{{0,200}}\bet al\b.{{0,90}}"
    r"|(?:[Ff]ig(?:ure)?s?|[Tt]ables?|[Ee]qs?|[Ss]ee|[Ss]ection|[Aa]ppendix|[Rr]efs?|[Cc]at|CAT|RRID)\b.{0,120}"
    rf"|.{{0,80}}[#=<>\u2248\u2264\u2265\u00b1%].{{0,200}}|{_YEAR}|\d[\d\s,;\u2013-]{{0,60}}",
    re.DOTALL,
)
_BEFORE = re.compile(rf"{_NAME}(?:, (?={_FIRM})){{0,1}}(?:{_FIRM},? ?){{0,2}} ?$")
_REACH = 80
"""Characters before a bracket with an address in which the name stands that the address is of."""
_ASIDES = [
    re.compile(pattern)
    for pattern in (
        r"\((?:(?<=-\()[^()\s]{1,30}\)|(?<=\w\()[\w,+-]{1,12}\)(?=[\d-]))",  # inside the name of a chemical
        rf"\b(?:purchased|bought|procured|ordered) from (?:the )?{_NAME}",
        _SELLER,
        rf"{_NAME},? {_FIRM}(?:,? {_FIRM})?",
        rf"{_PERSON}(?:(?:, | and | & ){_PERSON}){{0,3}},? et al\b\.?",
        rf"{_PERSON}(?: and | & ){_PERSON},? (?:in )?(?={_YEAR}|\[\d|\0)",
        r"\b(?:[Ff]ig(?:ure|s)?|[Tt]ables?|Eqs?|[Ss]upplement(?:ary)?)\.? ?\d+[A-Za-z]?\b",
        r"\d(?:(?<=[a-z]{4}\d)\d{0,2}(?:[,\u2013-]\d{1,3}){1,6}\b|(?<=[a-z][.,]\d)\d{0,2}(?:[,\u2013-]\d{1,3}){0,6}(?=\s))",
        rf"\d(?<![\w.-]\d)[\d.,]{{0,12}}(?: ?[\u2013\u00d7x-] ?\d[\d.,]{{0,12}})?[ -]?{_UNIT}(?:/{_UNIT})?(?![\w-])",
    )
]


def without_asides(readable: str) -> str:
    """Return `readable` with what is said aside as NUL characters, every other sign in its place."""
    kept, at = [], 0
    for found in _BRACKET.finditer(readable):
        start = found.start()
        if _ADDRESS.fullmatch(found[1]):
            name = _BEFORE.search(readable, max(at, start - _REACH), start)
            start = name.start() if name else start
        elif not _POINTER.fullmatch(found[1]):
            continue
        kept += [readable[at:start], "\0" * (found.end() - start)]
        at = found.end()
    readable = "".join([*kept, readable[at:]])
    for pattern in _ASIDES:
        readable = pattern.sub(lambda found: "\0" * len(found[0]), readable)
    return readable
