"""Texts for properties of quotations: words of many scripts, and slices of them."""

from hypothesis import strategies as st

# Words of many scripts, with difficulties for folding: ligatures, marks in either order, and
# letters that become longer.
ODD_WORDS = (
    "the a of model learning data-set (CNN) \u201cquoted\u201d it's 95.2%"
    " e\u0301tude \u00e9tude \ufb01ne stra\u00dfe"
    " \u0130stanbul \u0131r\u0131s \u03bb\u03cc\u03b3\u03bf\u03c2 \u1fb4"
    " модель \u1e69 s\u0323\u0307 s\u0307\u0323"
    " \u05e9\u05b8\u05c1\u05dc\u05d5\u05b9\u05dd"
    " \u0627\u0644\u0646\u0651\u064e\u0645\u0648\u0630\u062c 机器学习 モデル"
    " \u0928\u092e\u0942\u0928\u093e \ud55c\uad6d\uc5b4"
    " \U0001f600 \U0001f469\u200d\U0001f52c soft\u00adhyphen ..."
    " \u2014 \u2026 \u202eabc\u202c \u200b \ufeffbom x"
)
WORDS = tuple(ODD_WORDS.split())
BLANKS = st.sampled_from([" ", "  ", "\n", "\t", "\r\n", "\u00a0", "\u2003", "\u3000", " \u2028"])
LETTERS = st.characters(exclude_categories=["Cs"])
words = st.lists(st.tuples(st.sampled_from(WORDS), BLANKS), min_size=1, max_size=40)
texts = st.one_of(
    words.map(lambda pairs: "".join(word + blank for word, blank in pairs)), st.text(LETTERS)
)


@st.composite
def slices(draw: st.DrawFn) -> tuple[str, str]:
    """Draw a text and a slice of it; neither is empty."""
    text = draw(texts.filter(bool))
    start = draw(st.integers(0, len(text) - 1))
    return text, text[start : draw(st.integers(start + 1, len(text)))]
