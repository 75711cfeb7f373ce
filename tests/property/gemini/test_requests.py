"""What holds for any request that can be built, and for any estimate."""

from collections.abc import Callable
from functools import partial

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.errors import InputError
from pipeline.core.task import Prompt
from pipeline.gemini.requests import Form, build_request, check_request, request_key, request_line
from pipeline.gemini.tokens import Usage, estimate_usage

SCHEMA = {"type": "OBJECT", "properties": {"tags": {"type": "ARRAY", "items": {"type": "STRING"}}}}
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
ITEMS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(lambda text: text.strip() != "")


PARTS = st.lists(
    st.one_of(
        st.text().map(lambda text: {"text": text}),
        st.text().map(lambda data: {"inlineData": {"mimeType": "image/png", "data": data}}),
        st.just({}),
        st.just({"text": "x", "thought": "y"}),
    ),
    max_size=3,
)


@settings(max_examples=40)
@given(ITEMS, TEXTS, st.lists(PARTS, min_size=1, max_size=4), st.integers(1, 65_536))
def test_a_form_is_filled_as_lines_are_written_one_by_one(
    item: str, system: str, many: list[list[dict[str, object]]], most: int
) -> None:
    """The quick way gives the bytes, the estimate and the refusals of the plain way, prompt after prompt."""
    form = Form(schema=SCHEMA, thinking={"thinkingBudget": 7})
    for parts in many:
        prompt = Prompt(system=system, parts=parts, max_output_tokens=most)
        request = build_request(prompt, schema=SCHEMA, thinking={"thinkingBudget": 7})
        plain = _told(partial(_written, request_key("t", item), request))
        filled = _told(partial(_filled, form, request_key("t", item), prompt))
        assert filled in (plain, (plain, estimate_usage(request)))


def _filled(form: Form, key: str, prompt: Prompt) -> tuple[bytes, Usage]:
    head, rest, asked, usage = form.fill(key, prompt)
    assert head.endswith(asked)
    return head + rest, usage


def _written(key: str, request: dict[str, object]) -> bytes:
    written = request_line(key, request)
    check_request(written)
    return written


def _told(write: Callable[[], object]) -> object:
    """Return what a way of writing gives, or what it says when it refuses."""
    try:
        return write()
    except InputError as error:
        return error.message


@given(TEXTS.filter(bool), st.integers(1, 10_000))
def test_estimate_never_exceeds_the_cap(text: str, most: int) -> None:
    """Answer and thoughts stay within maxOutputTokens, and a prompt that says something costs something."""
    usage = estimate_usage(
        build_request(Prompt(system="", parts=[{"text": text}], max_output_tokens=most), schema={}, thinking=None)
    )
    assert usage.answer + usage.thoughts <= most
    assert usage.prompt > 0
