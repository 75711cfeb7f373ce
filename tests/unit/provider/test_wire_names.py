"""Only the providers know the names of the wire and the limits of a provider."""

import ast
import re
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

# Limits of a provider: file sizes, ages of batches and files, active batches, the quota's day.
LIMITS = re.compile(
    r"\b(?:24|48) hours\b|hours=(?:24|48)\b|\b(?:2 GB|200 MB|100 batches)\b|Pacific|Los_Angeles"
)


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


def test_no_module_or_page_outside_the_providers_names_a_limit_of_a_provider() -> None:
    """Limits are values of `Provider`, from which messages and pages take them."""
    found = []
    for path in sorted([*ROOT.rglob("*.py"), *ROOT.rglob("*.html"), *ROOT.rglob("*.js")]):
        if {"provider", "emulator", "vendor"} & set(path.relative_to(ROOT).parts):
            continue
        names = LIMITS.findall(path.read_text(encoding="utf-8"))
        found += [(str(path.relative_to(ROOT)), name) for name in names]
    assert found == []
