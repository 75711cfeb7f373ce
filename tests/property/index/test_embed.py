"""Texts that are longer than an embedding model reads, for any text and limit."""

from hypothesis import given
from hypothesis import strategies as st

from pipeline.gemini.usage import estimate_tokens
from pipeline.index.vectors import KEPT_END_CHARS, fit_text

LONG = st.builds(
    lambda text, times: text * times, st.text(min_size=1, max_size=40), st.integers(1, 2000)
)


@given(LONG, st.integers(100, 9000))
def test_what_is_sent_fits_and_keeps_both_ends(text: str, limit: int) -> None:
    """Within the limit by our estimate, the same each time, and begun and ended as the text is; what fits is whole."""
    sent = fit_text(text, limit=limit)
    assert estimate_tokens(sent) <= limit
    assert sent == fit_text(text, limit=limit)
    if estimate_tokens(text) <= limit * 3 // 4:
        assert sent == text
    else:
        head, _, end = sent.rpartition(" … ")
        assert len(sent) < len(text)
        assert text.startswith(head) or " … " in text
        assert text.endswith(end)
        assert len(end) <= KEPT_END_CHARS


@given(LONG)
def test_a_model_without_a_limit_is_given_everything(text: str) -> None:
    """The local engine reads texts of any length."""
    assert fit_text(text, limit=None) == text
