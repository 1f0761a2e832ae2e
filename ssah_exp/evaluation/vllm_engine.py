"""vLLM as the engine of generation: a thin adapter over its offline interface."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ssah_exp.config.schema import ModelConfig, VllmConfig
from ssah_exp.errors import ModelError
from ssah_exp.evaluation.generate import Decoding
from ssah_exp.evaluation.questions import Prompt, positions_needed
from ssah_exp.models.tokenizer import Speech

_NO_OUTPUT_BIAS = ("qwen3", "gemma")


def require_vllm() -> None:
    """Refuse at once where vLLM is missing.

    Raises:
        ModelError: It is not installed.
    """
    if importlib.util.find_spec("vllm") is None:
        raise ModelError(
            "evaluation.engine=vllm needs vLLM, which is not installed. Install it with: "
            "pip install 'ssah-exp[gpu]' (CUDA), or take evaluation.engine=transformers."
        )


def check_lengths(prompts: Sequence[Prompt], decoding: Decoding, room: VllmConfig) -> None:
    """Refuse what ``max_model_len`` would cut: vLLM silently ends an answer there.

    Raises:
        ModelError: A prompt with its answer may be longer.
    """
    needed = positions_needed(prompts, decoding.max_new_tokens)
    if room.max_model_len is not None and needed > room.max_model_len:
        raise ModelError(
            f"evaluation.vllm.max_model_len={room.max_model_len} is below the {needed} tokens of "
            "the longest prompt with its answer."
        )


def check_biases(folder: Path) -> None:
    """Refuse an export whose attention holds constants in a bias that vLLM leaves out on loading.

    Its Qwen 3 and Gemma build the attention's output projection without a bias, whatever the
    config says, and skip biases in the files that they have no place for.

    Raises:
        ModelError: Units there would be set to zero in place of their mean.
    """
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    if config["model_type"] in _NO_OUTPUT_BIAS and config.get("attention_bias"):
        raise ModelError(
            f"vLLM has no bias behind the attention of a {config['model_type']} model, which is to "
            "hold the means of the ablated heads. Take evaluation.engine=transformers, or ablate "
            "with fill zero."
        )


class VllmEngine:
    """Greedy completions of token ids by vLLM.

    It takes only plain folders and hub repositories: hooks do not reach into vLLM, see
    :func:`ssah_exp.interventions.export.export_model`.

    Args:
        location: The model's folder or repository.
        revision: Commit, for repositories.
        config: Precision and whether code of the repository may run.
        speech: Stop tokens.
        decoding: Length; a prefix that prompts share is cached if ``share_prefix``.
        room: Memory, longest sequence, cards; None = the defaults.

    Raises:
        ModelError: vLLM is not installed or cannot load the model.
    """

    def __init__(
        self,
        location: str | Path,
        revision: str | None,
        config: ModelConfig,
        speech: Speech,
        decoding: Decoding,
        room: VllmConfig | None = None,
    ) -> None:
        require_vllm()
        import vllm

        try:
            self._llm: Any = vllm.LLM(
                model=str(location),
                revision=revision,
                dtype=config.precision,
                trust_remote_code=config.trust_remote_code,
                # The model's own sampling defaults, such as a repetition penalty, stay out.
                generation_config="vllm",
                skip_tokenizer_init=True,
                enable_prefix_caching=decoding.share_prefix,
                seed=0,
                **asdict(room or VllmConfig()),
            )
        except (ValueError, OSError, RuntimeError) as error:
            raise ModelError(f"vLLM cannot load {location}: {error}") from error
        self._sampling: Any = vllm.SamplingParams(
            temperature=0.0,
            max_tokens=decoding.max_new_tokens,
            stop_token_ids=list(speech.stop_ids),
            ignore_eos=True,  # the stop tokens above are all that end a completion
            detokenize=False,
        )

    def __call__(self, batch: Sequence[tuple[int, ...]]) -> list[list[int]]:
        """New tokens of every prompt; a stop token may stand at their end."""
        prompts = [{"prompt_token_ids": list(ids)} for ids in batch]
        answers = self._llm.generate(prompts, self._sampling, use_tqdm=False)
        return [list(answer.outputs[0].token_ids) for answer in answers]
