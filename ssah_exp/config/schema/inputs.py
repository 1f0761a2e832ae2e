"""What a run reads: the model, the data."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING

from ssah_exp.config.schema.target import Target


@dataclass
class ModelConfig:
    """Which weights, and how they are held in memory.

    Attributes:
        name: Name used in tables.
        source: A ``ssah_exp.models.sources`` class with its arguments.
        precision: ``float32``, ``bfloat16`` or ``float16``.
        device: ``auto`` (CUDA where there is any), ``cpu``, ``cuda`` or ``cuda:N``; a run of one
            process trains and identifies there, too.
        device_map: For models larger than one card, in identification and evaluation: ``auto``,
            ``balanced``, ``balanced_low_0``, ``sequential``, or module name -> device (a number,
            ``cpu``, ``disk``); null = ``device``.
        offload_folder: Where weights go that ``device_map`` places on ``disk``.
        attn_implementation: Attention kernel as transformers names it.
        pad_token: The token to pad with; read only if the tokenizer has none.
        end_of_turn: Token that closes an assistant turn in the chat template.
        chat_template: Jinja text in place of the tokenizer's own chat template, for base models
            that have none; null = the tokenizer's.
        trust_remote_code: Run code from the model repository. Off unless asked for.
    """

    name: str = MISSING
    source: Target = MISSING
    precision: str = "float32"
    device: str = "auto"
    device_map: Any = None
    offload_folder: str | None = None
    attn_implementation: str = "sdpa"
    pad_token: str | None = None
    end_of_turn: str = MISSING
    chat_template: str | None = None
    trust_remote_code: bool = False


@dataclass
class DataConfig:
    """Every data set of a run. Each source is a ``ssah_exp.data.sources`` class.

    Attributes:
        name: Name used in tables.
        root: Folder that sources may refer to as ``${data.root}``.
        alignment: Requests with the answers to train on, one source after the other.
        safety_calibration: Harmful requests with refusals.
        utility_calibration: Benign requests with answers.
        harmful_eval: Held-out harmful requests.
        benign_eval: Held-out plain requests.
        borderline_eval: Held-out harmless requests worded like harmful ones (over-refusal).
        text: Held-out running text.
        finetune: What arms are trained on where ``training.data`` is ``finetune`` (attacks and
            defences), one source after the other.
        preferences: Pairs of a chosen and a rejected answer for DPO; null = refusals against the
            unaligned model's answers.
    """

    name: str = MISSING
    root: str | None = None
    alignment: list[Target] = MISSING
    safety_calibration: Target = MISSING
    utility_calibration: Target = MISSING
    harmful_eval: Target = MISSING
    benign_eval: Target = MISSING
    borderline_eval: Target = MISSING
    text: Target = MISSING
    finetune: list[Target] = field(default_factory=list)
    preferences: Target | None = None
