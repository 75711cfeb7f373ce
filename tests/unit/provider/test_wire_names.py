"""Only the providers, and the one module of our own form, know the names of the wire."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[3] / "askrows"
# Members of requests and replies of any provider.
WIRE_NAMES = frozenset(
    {
        "candidates", "completion_tokens", "contents",
        "custom_id", "embeddings", "finishReason", "finish_reason", "generationConfig",
        "inlineData", "input_file_id", "json_schema", "maxOutputTokens",
        "max_completion_tokens", "max_tokens", "operations", "output_file_id", "promptTokenCount",
        "prompt_tokens", "reasoning_effort", "responseSchema", "response_format",
        "systemInstruction", "thinkingConfig", "usageMetadata",
    }
)  # fmt: skip


def test_no_module_outside_the_providers_names_a_member_of_the_wire() -> None:
    """A text in code outside `provider/` and the emulator is no name of a member."""
    found = []
    for path in sorted(ROOT.rglob("*.py")):
        if {"provider", "emulator"} & set(path.relative_to(ROOT).parts):
            continue
        texts = {
            node.value
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
        }
        found += [(str(path.relative_to(ROOT)), name) for name in sorted(texts & WIRE_NAMES)]
    assert found == []
