"""The encoder: honest vectors, the same every time, without a network."""

import hashlib
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from emulator.models import encoder

TEXTS = [
    "Grace Adeyemi. Cheesemaker at Hill Dairy. Raw milk, long ripening.",
    "我是前端工程師,熱愛開源",
    "Kubernetes operators in Go",
]
OFFLINE = """
import hashlib, logging, sys
from emulator.models import encoder
before = logging.getLogger().level, list(logging.getLogger().handlers)
vectors = encoder.encode(["water law", "beekeeping in the Alps"])
assert (logging.getLogger().level, list(logging.getLogger().handlers)) == before
assert not {"pydantic", "requests", "wordllama"} & sys.modules.keys(), "the weights are read without the package"
sys.stdout.write(hashlib.sha256(vectors.tobytes()).hexdigest())
"""


@pytest.mark.parametrize("kind", ["semantic", "lexical"])
def test_a_text_has_the_same_bytes_alone_and_in_any_batch(kind: str) -> None:
    """Neither the neighbours nor the order change a vector."""
    together = encoder.encode(TEXTS, encoder=kind)
    turned = encoder.encode(TEXTS[::-1], encoder=kind)
    for place, text in enumerate(TEXTS):
        alone = encoder.encode([text], encoder=kind)
        assert alone[0].tobytes() == together[place].tobytes() == turned[-1 - place].tobytes()


def test_meaning_is_found_without_a_common_word() -> None:
    """The semantic half puts a solicitor nearer to a lawyer than to a pastry cook."""
    lawyer, solicitor, cook = encoder.encode(["lawyer", "solicitor", "pastry cook"])
    assert lawyer @ solicitor > lawyer @ cook + 0.1


def test_word_stems_tell_rare_names_apart() -> None:
    """The hashed half recognises a product name that the meaning half has never seen."""
    asked, same, other = encoder.encode(["Zorblatt", "we run Zorblatts daily", "we run Quuxinators daily"])
    assert asked @ same > asked @ other + 0.1


@pytest.mark.full
def test_the_network_is_never_needed_and_logging_stays_as_it_was(tmp_path: Path) -> None:
    """With dead proxies and an empty home the vectors are there, the same in two processes."""
    home = tmp_path / "home"
    home.mkdir()
    dead = "http://127.0.0.1:9"
    environ = {**os.environ, "HOME": str(home), "HF_HUB_OFFLINE": "1"}
    environ |= dict.fromkeys(("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), dead)
    run = [sys.executable, "-c", OFFLINE]
    root = Path(encoder.__file__).parents[2]
    here = encoder.encode(["water law", "beekeeping in the Alps"]).tobytes()
    there = subprocess.run(run, env=environ, cwd=root, check=True, capture_output=True).stdout.decode()
    assert there == hashlib.sha256(here).hexdigest()
    assert list(home.iterdir()) == []


def test_what_cannot_be_encoded_is_refused() -> None:
    """A blank text is named by its place, an unknown encoder with those there are; no texts are no mistake."""
    assert encoder.encode([]).shape == (0, 768)
    for blank in ("", "\n\t"):
        with pytest.raises(ValueError, match="text 1 is blank"):
            encoder.encode(["fine", blank])
    with pytest.raises(ValueError, match="'magic' is unknown, expected one of lexical, semantic"):
        encoder.encode(["fine"], encoder="magic")


@pytest.mark.full
def test_threads_may_ask_at_once_and_texts_may_be_long() -> None:
    """Eight threads get what one gets; 200,000 characters and a word of 40,000 have a vector as any text has."""
    expected = encoder.encode(TEXTS).tobytes()
    with ThreadPoolExecutor(8) as pool:
        assert {vectors.tobytes() for vectors in pool.map(encoder.encode, [TEXTS] * 16)} == {expected}
    long = ["water law and irrigation " * 8_000, "x" * 40_000, "](" * 50_000, "<" * 100_000, "a@" * 50_000]
    assert np.linalg.norm(encoder.encode(long), axis=1) == pytest.approx(1, abs=1e-3)


def test_vectors_are_those_of_the_package_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is read of its files, without its code, gives the bytes that its own reader gives, of short and long."""
    texts = [
        *TEXTS,
        "the",
        "🐝 ∑",
        "naïve café ÅNGSTRÖM\x00\ufffd",
        "水法と灌漑",
        "irrigation, Bewässerung, riego " * 2_000,
    ]
    ours = encoder.encode(texts)
    import wordllama

    inside = Path(wordllama.__file__).parent
    model = wordllama.WordLlama.load(cache_dir=inside, disable_download=True)
    monkeypatch.setattr(encoder, "_weights", lambda: (model.tokenizer, model.embedding))
    encoder._word.cache_clear()
    assert encoder.encode(texts).tobytes() == ours.tobytes()
