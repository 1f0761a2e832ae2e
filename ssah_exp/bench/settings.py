"""Settings of the benchmarks, and the defaults for those that are not given."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, TypeVar

import torch

from ssah_exp.bench import defaults
from ssah_exp.bench.models import EMBEDDED, LLAMA_SIZES
from ssah_exp.config.ranges import at_least, refuse
from ssah_exp.errors import ConfigError, did_you_mean
from ssah_exp.models.device import DTYPES, resolve_device
from ssah_exp.training.tuned import Way


@dataclass(frozen=True)
class Arm:
    """One way of training.

    Attributes:
        policy: ``none`` trains everything, ``budget`` a share, ``freeze`` all but a share.
        way: How slices are trained.
        compiled: Whether blocks go through torch.compile.
    """

    policy: str
    way: Way = "auto"
    compiled: bool = False


ARMS = {
    "full": Arm("none"),
    "masked": Arm("budget", "masked"),
    "compact": Arm("budget", "compact"),
    "freeze": Arm("freeze"),
}
COMPILED = {
    "compiled full": Arm("none", compiled=True),
    "compiled compact": Arm("budget", "compact", compiled=True),
}
EVERY_ARM = {**ARMS, **COMPILED}
# The arm whose certificate is timed.
CERTIFIED = "compact"

# Settings that say how to time a step, not what it is.
NOT_COUNTED = frozenset({"device", "steps", "warmup", "repeats", "threads", "compile"})

MODELS = (EMBEDDED, *LLAMA_SIZES)


@dataclass(frozen=True)
class PlaceSettings:
    """Where and how often something is measured; all that `ssah-exp bench growth` is told.

    Attributes:
        device: Where.
        precision: Of weights and arithmetic.
        repeats: Rounds; how often every arm is measured.
        seed: Decides tokens, prompts, units, random weights and scores.
        threads: CPU threads of torch.
    """

    device: str
    precision: str
    repeats: int
    seed: int
    threads: int

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights."""
        return DTYPES[self.precision]


@dataclass(frozen=True)
class BenchSettings(PlaceSettings):
    """Everything the arms of a training benchmark share.

    Attributes:
        model: ``embedded`` or the name of a shape.
        masters: Whether bfloat16 weights have float32 copies that the optimizer moves.
        share: Share of the units' weights that the masked and the compact arm train.
        frozen_share: Share of the units' weights that the freeze arm does not train.
        batch: Sequences per step.
        length: Tokens per sequence.
        steps: Timed steps per arm and repeat.
        warmup: Steps before them.
        checkpointing: Recompute activations in the backward pass.
        response_share: Share of each sequence, from its end, whose tokens count in the loss.
        compile: Measure the compiled arms, too.
    """

    model: str
    masters: bool
    share: float
    frozen_share: float
    batch: int
    length: int
    steps: int
    warmup: int
    checkpointing: bool
    response_share: float
    compile: bool

    @property
    def arms(self) -> dict[str, Arm]:
        """What is measured."""
        return EVERY_ARM if self.compile else ARMS


@dataclass(frozen=True)
class IdentifySettings(PlaceSettings):
    """What `ssah-exp bench identify` times.

    Attributes:
        model: ``embedded`` or the name of a shape.
        batch: Sequences per forward pass.
        length: Tokens per sequence.
        batches: Batches of a calibration set.
        response_share: Share of each sequence, from its end, that counts.
    """

    model: str
    batch: int
    length: int
    batches: int
    response_share: float


@dataclass(frozen=True)
class GenerateSettings(PlaceSettings):
    """What `ssah-exp bench generate` times.

    Attributes:
        prompts: How many.
        new_tokens: Of every answer; none ends early.
        batch: Prompts per batch.
    """

    prompts: int
    new_tokens: int
    batch: int


def complete(given: Mapping[str, Any]) -> BenchSettings:
    """Fill in defaults that suit the device, and check everything.

    Args:
        given: Fields by name, ``device`` at least; None = not given. Other keys are ignored.

    Raises:
        ConfigError: An unknown model, or values out of range: all of them at once.
        ModelError: The device is not there.
    """
    sizes = defaults.TRAIN_ON_CUDA if _on_gpu(given) else defaults.TRAIN_ON_CPU
    return _complete(BenchSettings, given, defaults.TRAIN | sizes)


def complete_count(given: Mapping[str, Any]) -> BenchSettings:
    """Like :func:`complete`, for ``bench count``: as on CUDA, whose memory there is to be known."""
    return _complete(BenchSettings, {**given, "device": "cpu"}, defaults.TRAIN | defaults.COUNT)


def complete_identify(given: Mapping[str, Any]) -> IdentifySettings:
    """Like :func:`complete`, for ``bench identify``."""
    sizes = defaults.IDENTIFY_ON_CUDA if _on_gpu(given) else defaults.IDENTIFY_ON_CPU
    return _complete(IdentifySettings, given, defaults.IDENTIFY | sizes)


def complete_generate(given: Mapping[str, Any]) -> GenerateSettings:
    """Like :func:`complete`, for ``bench generate``."""
    return _complete(GenerateSettings, given, defaults.GENERATE)


def complete_growth(given: Mapping[str, Any]) -> PlaceSettings:
    """Like :func:`complete`, for ``bench growth``: one thread unless told otherwise."""
    return _complete(PlaceSettings, given, defaults.GROWTH)


def _on_gpu(given: Mapping[str, Any]) -> bool:
    return resolve_device(given["device"], "--device").type == "cuda"


Settings = TypeVar("Settings", bound=PlaceSettings)


def _complete(kind: type[Settings], given: Mapping[str, Any], own: Mapping[str, Any]) -> Settings:
    model = given.get("model")
    if model is not None and model not in MODELS:
        raise ConfigError(f"Unknown model '{model}'.{did_you_mean(model, MODELS)}")
    on_gpu = _on_gpu(given)
    shared = {
        "model": "llama2-7b" if on_gpu else EMBEDDED,
        "precision": "bfloat16" if on_gpu else "float32",
        "threads": torch.get_num_threads(),
        **defaults.PLACE,
        **defaults.SHAPE,
    }
    said = {name: value for name, value in given.items() if value is not None}
    decided = {"device": str(resolve_device(given["device"], "--device"))}
    values = {**shared, **own, **said, **decided}
    settings = kind(**{item.name: values[item.name] for item in fields(kind)})
    refuse(_problems(asdict(settings)))
    return settings


# The first token of a sequence has nothing that predicts it: two are needed for one loss.
_LEAST = {
    "batch": 1,
    "batches": 1,
    "length": 2,
    "new_tokens": 1,
    "prompts": 1,
    "repeats": 1,
    "seed": 0,
    "steps": 1,
    "threads": 1,
    "warmup": 0,
}


def _problems(settings: Mapping[str, Any]) -> Iterator[str]:
    if not settings.get("masters", True) and settings["precision"] == "float32":
        yield "--no-masters is about bfloat16 weights; with --precision float32 there are none."
    for name in ("share", "frozen_share"):
        if not 0 < settings.get(name, 0.5) < 1:
            yield f"--{name.replace('_', '-')}={settings[name]} lies outside (0, 1)."
    if not 0 < settings.get("response_share", 1) <= 1:
        yield f"--response-share={settings['response_share']} lies outside (0, 1]."
    for name, bound in _LEAST.items():
        yield from at_least(f"--{name.replace('_', '-')}", settings.get(name), bound)
