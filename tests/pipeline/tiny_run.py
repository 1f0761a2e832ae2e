"""A whole run in seconds: a tiny random model in a folder, tiny data files, a config for them."""

from __future__ import annotations

import io
from pathlib import Path

from rich.console import Console

from ssah_exp.config.artefacts import TABLE1
from ssah_exp.config.schema import ArmConfig, ControlsConfig, RunConfig, Target, TrainingConfig
from ssah_exp.config.validate import validate
from ssah_exp.pipeline.opened import Finished
from ssah_exp.pipeline.progress import Reporter
from ssah_exp.pipeline.table1 import run_table1
from ssah_exp.pipeline.training_table import run_training_table
from tests.config.composing import config_of
from tests.tiny import WORDS, tiny_model, tiny_tokenizer

SIZES = {
    "alignment": 8,
    "safety_calibration": 6,
    "utility_calibration": 6,
    "harmful_eval": 5,
    "benign_eval": 4,
    "borderline_eval": 3,
}
SAMPLES, WINDOW, TEXT_WORDS = 5, 16, 200
FINETUNE = 10  # read by training tables alone


def furnish(folder: Path) -> Path:
    """Put a tiny model and tiny data into a folder."""
    save_model(folder / "model")
    save_data(folder / "data")
    return folder


def save_model(folder: Path) -> None:
    """A random grouped-query Llama with a tokenizer of one token per word."""
    tiny_model("llama_gqa").save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)


def save_data(folder: Path) -> None:
    """One csv per set; no prompt stands in two of them."""
    folder.mkdir(parents=True, exist_ok=True)
    for start, (name, rows) in enumerate({**SIZES, "finetune": FINETUNE}.items()):
        lines = [
            f"w{start} w{row} w{(7 * row + start) % WORDS},w{start + 9} w{row + 20} w{start + 30}"
            for row in range(rows)
        ]
        (folder / f"{name}.csv").write_text("\n".join(["q,a", *lines]), encoding="utf-8")
    words = [f"w{(number * number) % WORDS}" for number in range(TEXT_WORDS)]
    (folder / "text.txt").write_text(" ".join(words), encoding="utf-8")


def tiny_config(place: Path, root: str = "root") -> RunConfig:
    """Everything Table 1 does, in small: ``place`` holds model, data and the run's files."""
    config = config_of("model=local", "tracker=none", "trainer=cpu")
    config.paths.root = str(place / root)
    config.trainer.progress = False
    config.model.source["path"] = str(place / "model")
    config.model.end_of_turn = "<|end|>"
    _set_data(config, place / "data")
    config.alignment.epochs, config.alignment.batch_size = 2, 4
    config.alignment.learning_rate = 1e-2
    config.units.samples, config.units.min_samples, config.units.batch_size = SAMPLES, 2, 4
    config.units.budgets.scu = config.units.budgets.ucu = config.units.budgets.ru = 0.05
    config.ablation.classes, config.ablation.fills = ["SCU", "RU"], ["pooled", "zero"]
    config.ablation.controls = ControlsConfig(of=["SCU"], draws=2)
    config.evaluation.system_prompt = "w50 w51"
    config.evaluation.max_new_tokens = 5
    config.evaluation.judges = {name: _judge(name, word) for name, word in JUDGES.items()}
    config.evaluation.primary_judge = "first"
    config.evaluation.bootstrap_resamples = 100
    config.evaluation.perplexity.window = WINDOW
    validate(config)
    return config


# Words that a random model says now and then.
JUDGES = {"first": "w1", "second": "w2"}


def _judge(name: str, phrase: str) -> Target:
    return {
        "_target_": "ssah_exp.evaluation.judges.KeywordJudge",
        "name": name,
        "phrases": [phrase],
    }


def training_config(place: Path, arms: dict[str, ArmConfig], root: str = "training") -> RunConfig:
    """A training table in small: the aligned model, fine-tuned by ``arms`` on ten examples."""
    config = tiny_config(place, root)
    config.artefact = "table2_freezing"
    config.training = TrainingConfig(
        epochs=1, batch_size=4, learning_rate=1e-2, check_every=1, arms=arms
    )
    validate(config)
    return config


def unaligned_config(place: Path) -> RunConfig:
    """Fine-tuning the unaligned model on the alignment data, as a whole and by its RU."""
    arms = {"full": ArmConfig(), "budget": ArmConfig(policy="budget", select=of_class("RU"))}
    config = training_config(place, arms)
    config.artefact = "table4_alignment_budget"
    config.training.start, config.training.data = "unaligned", "alignment"
    return config


def of_class(*names: str) -> Target:
    """A selector."""
    return {"_target_": "ssah_exp.units.selectors.OfClass", "names": list(names)}


def _set_data(config: RunConfig, folder: Path) -> None:
    for name in (*SIZES, "finetune"):
        node: Target = {
            "_target_": "ssah_exp.data.sources.FileSource",
            "path": str(folder / f"{name}.csv"),
            "prompt": "{q}",
            "response": "{a}",
        }
        setattr(config.data, name, [node] if name in ("alignment", "finetune") else node)
    text = {"_target_": "ssah_exp.data.sources.FileText", "path": str(folder / "text.txt")}
    config.data.name, config.data.text = "tiny", text


def run(config: RunConfig) -> Finished:
    """Run quietly."""
    pipeline = run_table1 if config.artefact == TABLE1 else run_training_table
    return pipeline(config, silent())


def silent() -> Reporter:
    """Keeps stages, prints nothing."""
    return Reporter(Console(file=io.StringIO()), bars=False)


def computed(finished: Finished) -> list[str]:
    """Names of the stages that were not cached."""
    return [stage.name for stage in finished.stages if not stage.cached]


def counted() -> dict[str, int]:
    """Metrics of every arm, and the n of each."""
    counts = {"perplexity": TEXT_WORDS // WINDOW}
    counts |= {f"empty/{style}": SIZES["harmful_eval"] for style in ("raw", "raw_system")}
    counts |= {f"harmful_looping/{style}": SIZES["harmful_eval"] for style in ("raw", "raw_system")}
    counts |= {
        f"{which}_looping/chat": SIZES[f"{which}_eval"] for which in ("benign", "borderline")
    }
    for judge in JUDGES:
        for style in ("raw", "raw_system", "mean"):
            counts[f"asr/{style}/{judge}"] = SIZES["harmful_eval"]
        counts[f"benign_refusal/chat/{judge}"] = SIZES["benign_eval"]
        counts[f"borderline_refusal/chat/{judge}"] = SIZES["borderline_eval"]
    return counts
