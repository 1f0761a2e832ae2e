"""Generation beside a plain loop, and re-judging of stored completions, as JSON.

    python benchmarks/generation.py [PROMPTS] [NEW_TOKENS] [ROUNDS]

The loop is ``model.generate`` on one prompt after the other, in the order given. Both sides take
the same bundled prompts, and turns, so that a busy machine is as busy for both; their completions
must be the same. The embedded model is taken from the cache of ``paths.root``, or put there.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from hydra import compose, initialize_config_dir

from ssah_exp.cache import Cache
from ssah_exp.config.build import build
from ssah_exp.config.compose import conf_dir, parse
from ssah_exp.config.judge_files import read_judges
from ssah_exp.config.paths import runs_root
from ssah_exp.config.schema import RunConfig
from ssah_exp.data.datasets import load_data
from ssah_exp.evaluation.generate import Decoding, generate
from ssah_exp.evaluation.metrics import judge_metrics
from ssah_exp.evaluation.questions import (
    BENIGN,
    Prompt,
    Question,
    encode_questions,
    read_completions,
    write_completions,
)
from ssah_exp.models.load import LoadedModel, load_model
from ssah_exp.records.provenance import hardware


def main(prompts: int = 24, new_tokens: int = 64, rounds: int = 2) -> None:
    """Measure and print."""
    with initialize_config_dir(config_dir=str(conf_dir()), version_base="1.3"):
        config = parse(compose("config", overrides=["trainer=cpu"]))
    report = {
        "generation": _generation(config, prompts, new_tokens, rounds),
        "re-judging": _rejudging(config, 10_000),
        "threads": torch.get_num_threads(),
        "hardware": hardware(),
    }
    print(json.dumps(report, indent=1))


def _generation(config: RunConfig, count: int, new_tokens: int, rounds: int) -> dict[str, object]:
    ref, _ = build(config.model.source, "model.source").resolve(Cache(runs_root() / "cache"))
    loaded = load_model(ref.location, config.model)
    data = load_data(config)
    items = [*data.benign_eval, *data.borderline_eval, *data.harmful_eval][:count]
    questions = [Question(BENIGN, "chat", item.prompt, None) for item in items]
    prompts = encode_questions(loaded.speech, questions, config.evaluation.system_prompt)
    decoding = Decoding(new_tokens, config.evaluation.batch_size, config.evaluation.share_prefix)
    seconds: dict[str, list[float]] = {"loop": [], "generate": []}
    for _ in range(rounds):
        started = time.perf_counter()
        plain = _loop(loaded, prompts, new_tokens)
        between = time.perf_counter()
        ours = generate(loaded, prompts, decoding)
        seconds["loop"].append(round(between - started, 2))
        seconds["generate"].append(round(time.perf_counter() - between, 2))
        assert ours == plain, "the two sides do not say the same"
    tokens = sum(len(loaded.speech.tokenizer(text).input_ids) for text in ours)
    return {
        "prompts": len(prompts),
        "new_tokens": new_tokens,
        "tokens_generated": tokens,
        "batch_size": decoding.batch_size,
        "seconds": seconds,
        "speedup": round(sum(seconds["loop"]) / sum(seconds["generate"]), 2),
    }


@torch.inference_mode()
def _loop(loaded: LoadedModel, prompts: Sequence[Prompt], new_tokens: int) -> list[str]:
    tokenizer, texts = loaded.speech.tokenizer, []
    for prompt in prompts:
        ids = torch.tensor([prompt.ids], device=loaded.device)
        output = loaded.model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=new_tokens,
            do_sample=False,
            eos_token_id=list(loaded.speech.stop_ids),
            pad_token_id=loaded.speech.pad_id,
        )
        texts.append(tokenizer.decode(output[0, ids.shape[1] :], skip_special_tokens=True).strip())
    return texts


def _rejudging(config: RunConfig, count: int) -> dict[str, object]:
    """Stored completions of 200 words each, read and judged by the paper's phrases."""
    words = load_data(config).text.split()
    texts = [" ".join(words[at % 500 : at % 500 + 200]) for at in range(count)]
    questions = [Question(BENIGN, "chat", f"prompt {at}", None) for at in range(count)]
    (node,) = read_judges(["wei2024"], []).values()
    judge = build(node, "wei2024")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "completions.jsonl"
        write_completions(path, questions, texts)
        started, busy = time.perf_counter(), time.process_time()
        completions = read_completions(path)
        read = time.perf_counter()
        judge_metrics(completions, "wei2024", judge, config.evaluation)
        judged, busy = time.perf_counter(), time.process_time() - busy
    return {
        "completions": count,
        "words_each": len(texts[0].split()),
        "seconds": {"reading": round(read - started, 3), "judging": round(judged - read, 3)},
        "cpu_seconds": round(busy, 3),  # without waiting for other processes
    }


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
