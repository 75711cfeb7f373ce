"""Texts above the limit of an embedding model, for any text and limit."""

from hypothesis import given
from hypothesis import strategies as st

from askrows.pipeline.index.vectors import KEPT_END_CHARS, cut_middle_to_fit
from askrows.pipeline.provider.usage import estimate_tokens

LONG_TEXTS = st.builds(
    lambda text, times: text * times, st.text(min_size=1, max_size=40), st.integers(1, 2000)
)


@given(LONG_TEXTS, st.integers(100, 9000))
def test_a_shortened_text_fits_and_keeps_both_ends(text: str, limit: int) -> None:
    """A long text is cut to the limit with its start and end; a short text is unchanged."""
    fitted = cut_middle_to_fit(text, limit=limit)
    assert estimate_tokens(fitted) <= limit
    assert fitted == cut_middle_to_fit(text, limit=limit)
    # A text above three quarters of the limit is cut, because the count is an estimate.
    if estimate_tokens(text) <= limit * 3 // 4:
        assert fitted == text
    else:
        head, _, tail = fitted.rpartition(" … ")
        assert len(fitted) < len(text)
        assert text.startswith(head) or " … " in text
        assert text.endswith(tail)
        assert len(tail) <= KEPT_END_CHARS


@given(LONG_TEXTS)
def test_a_model_without_a_limit_gets_the_whole_text(text: str) -> None:
    """The local engine reads texts of any length."""
    assert cut_middle_to_fit(text, limit=None) == text
