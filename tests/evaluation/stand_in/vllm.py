"""A stand-in for vLLM at its boundary: the same calls, answered by plain transformers on the CPU.

It takes what vLLM's ``LLM`` and ``SamplingParams`` take, of what the project uses, and no more.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

import torch
from transformers import AutoModelForCausalLM

MADE: list[LLM] = []
STARTING = lambda: None  # noqa: E731  # called as an engine starts: what lies in memory then?


@dataclass(kw_only=True)
class SamplingParams:
    temperature: float = 1.0
    max_tokens: int | None = 16
    stop_token_ids: list[int] | None = None
    ignore_eos: bool = False
    detokenize: bool = True


class LLM:
    def __init__(
        self,
        model: str,
        *,
        revision: str | None = None,
        dtype: str = "auto",
        trust_remote_code: bool = False,
        generation_config: str = "auto",
        skip_tokenizer_init: bool = False,
        enable_prefix_caching: bool | None = None,
        seed: int | None = None,
        gpu_memory_utilization: float = 0.9,
        max_model_len: int | None = None,
        tensor_parallel_size: int = 1,
    ) -> None:
        STARTING()
        if "broken" in model:
            raise ValueError("no architecture")
        assert generation_config == "vllm", "the model's own defaults must stay out"
        assert skip_tokenizer_init
        self.given = {
            "model": model,
            "revision": revision,
            "dtype": dtype,
            "trust_remote_code": trust_remote_code,
            "enable_prefix_caching": enable_prefix_caching,
            "seed": seed,
            "gpu_memory_utilization": gpu_memory_utilization,
            "max_model_len": max_model_len,
            "tensor_parallel_size": tensor_parallel_size,
        }
        self.model = AutoModelForCausalLM.from_pretrained(model, dtype=getattr(torch, dtype)).eval()
        self.asked: list[int] = []
        MADE.append(self)

    def generate(
        self, prompts: list[dict], sampling_params: SamplingParams, *, use_tqdm: bool = True
    ) -> list[SimpleNamespace]:
        assert sampling_params.temperature == 0
        assert sampling_params.ignore_eos
        assert not sampling_params.detokenize, "there is no tokenizer"
        self.asked.append(len(prompts))
        return [
            SimpleNamespace(
                outputs=[SimpleNamespace(token_ids=self._greedy(prompt, sampling_params))]
            )
            for prompt in prompts
        ]

    def _greedy(self, prompt: dict, params: SamplingParams) -> tuple[int, ...]:
        """As vLLM, it leaves the stop token in."""
        (ids,) = prompt.values()
        new: list[int] = []
        while len(new) < params.max_tokens:
            with torch.no_grad():
                new.append(int(self.model(torch.tensor([[*ids, *new]])).logits[0, -1].argmax()))
            if new[-1] in params.stop_token_ids:
                break
        return tuple(new)
