"""How long things take and what memory they need on other machines, from a few measured rates.

Pure arithmetic, with every assumption in a field that a caller can change. docs/scaling.md prints
these functions' results; it explains the formulas.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

GIB = 2**30
BUDGET_SHARE = 0.2
IDENTIFICATION, FULL, BUDGET, EVALUATION = "identification", "full SFT", "20 % budget", "evaluation"
_SHOWN = 0.05  # seconds of exchange; less would print as none
TASKS = (IDENTIFICATION, FULL, BUDGET, EVALUATION)


@dataclass(frozen=True)
class Shape:
    """Sizes of a decoder with gated MLPs, as :class:`ssah_exp.models.sizes.Anatomy` has them.

    Attributes:
        layers: Blocks.
        hidden: Width of the residual stream.
        neurons: MLP intermediate neurons per block.
        heads: Query heads per block.
        kv_heads: Key-value heads per block.
        vocabulary: Tokens.
    """

    layers: int
    hidden: int
    neurons: int
    heads: int
    kv_heads: int
    vocabulary: int = 32000

    @property
    def head_dim(self) -> int:
        """Channels per head."""
        return self.hidden // self.heads

    @property
    def block_parameters(self) -> int:
        """Matrices of all blocks."""
        attention = self.hidden * self.head_dim * (2 * self.heads + 2 * self.kv_heads)
        return self.layers * (attention + 3 * self.hidden * self.neurons)

    @property
    def parameters(self) -> int:
        """Matrices of all blocks, embeddings, LM head and norms."""
        vocabulary = 2 * self.vocabulary * self.hidden
        return self.block_parameters + vocabulary + (2 * self.layers + 1) * self.hidden

    @property
    def channels(self) -> int:
        """Input channels of all output projections."""
        return self.layers * (self.heads * self.head_dim + self.neurons)


SHAPES = {
    "7B": Shape(32, 4096, 11008, 32, 32),
    "13B": Shape(40, 5120, 13824, 40, 40),
    "70B": Shape(80, 8192, 28672, 64, 8),
}


@dataclass(frozen=True)
class Rates:
    """What one GPU does: the first three were measured, the others are rated or assumed.

    Attributes:
        forward: FLOP/s of a bare forward pass in bfloat16 (one H100, Llama-2-7B's shape, 32 x 512).
        hooks: Time of a pass with hooks on every output projection / without.
        budget_speed: Tokens/s of training a fifth of the units / of training everything (one
            H100, checkpointing, 4 x 1024).
        decode_bandwidth: Bytes/s at which decoding reads weights: the card's rated 3.35e12 times
            an assumed share of 0.6.
        link: Bytes/s into one GPU within a machine, assumed.
        network: Bytes/s into one GPU between machines, assumed.
        per_machine: GPUs per machine.
        card: Bytes of memory per GPU.
    """

    forward: float = 451e12
    hooks: float = 1.15
    budget_speed: float = 1.115
    decode_bandwidth: float = 0.6 * 3.35e12
    link: float = 200e9
    network: float = 25e9
    per_machine: int = 8
    card: float = 80e9


@dataclass(frozen=True)
class Work:
    """How much is computed; the paper's sizes where it gives them.

    Attributes:
        calibration: Sequences over both calibration sets.
        calibration_length: Tokens of each at most.
        held: Sequences whose moments wait for those before them: a window of batches of 8.
        examples: Training conversations.
        epochs: Passes over them.
        length: Tokens per training conversation.
        batch: Conversations per step and GPU.
        prompts: Asked of each arm.
        prompt_length: Tokens of each.
        new_tokens: Generated for each.
        decode_batch: Prompts decoded together on one GPU.
        windows: Of held-out text.
        window: Tokens per window.
    """

    calibration: int = 256
    calibration_length: int = 512
    held: int = 64
    examples: int = 52000
    epochs: int = 3
    length: int = 512
    batch: int = 4
    prompts: int = 300
    prompt_length: int = 128
    new_tokens: int = 256
    decode_batch: int = 32
    windows: int = 83
    window: int = 4096


@dataclass(frozen=True)
class Forecast:
    """One task on one model and one number of GPUs.

    Attributes:
        seconds: Wall time without loading and saving; None where the model does not fit.
        memory: Bytes per GPU.
        sharded: Whether weights are split over the GPUs (FSDP2).
        exchange: Seconds that GPUs spend on exchanging. They are part of ``seconds``, except in
            training, where exchange and computation overlap and the longer of the two counts.
    """

    seconds: float | None
    memory: float
    sharded: bool
    exchange: float


def forward_flop(shape: Shape, tokens: float, length: float, *, head: bool) -> float:
    """FLOP of a forward pass: 2 per weight and token, and attention's 2 x 2 x length / 2 x width.

    Args:
        shape: The model.
        tokens: All tokens.
        length: Tokens per sequence; a causal kernel computes half of the score matrix.
        head: Whether logits of every token are computed.
    """
    weights = shape.block_parameters + (shape.vocabulary * shape.hidden if head else 0)
    return tokens * (2 * weights + 2 * length * shape.hidden * shape.layers)


def training_memory(shape: Shape, gpus: int, work: Work, *, budget: bool) -> float:
    """Bytes per GPU of training in bfloat16 with float32 masters and AdamW under checkpointing.

    Per weight 2 (working weight) and, if it is trained, 4 (master) + 4 (gradient) + 8 (AdamW),
    split over the GPUs; a split weight that is trained as a whole is its own master. Whole on every
    GPU: one gathered block, twice; block inputs of the batch and one block's activations; float32
    logits with their gradient. Budget training trains its share of the blocks only.
    """
    trained = BUDGET_SHARE * shape.block_parameters if budget else shape.parameters
    working = 0 if gpus > 1 and not budget else 2 * shape.parameters
    states = (working + 16 * trained) / gpus
    gathered = 0 if gpus == 1 else 2 * 2 * shape.block_parameters / shape.layers
    return states + gathered + _activations(shape, work)


def _activations(shape: Shape, work: Work) -> float:
    tokens = work.batch * work.length
    one_block = 2 * (8 * shape.hidden + 4 * shape.neurons)
    return tokens * (2 * shape.layers * shape.hidden + one_block + 8 * shape.vocabulary)


def inference_memory(shape: Shape, gpus: int, rows: int, length: int, *, sharded: bool) -> float:
    """Bytes per GPU: weights, a gathered block, keys and values, one block's activations."""
    weights = 2 * shape.parameters / (gpus if sharded else 1)
    gathered = 2 * 2 * shape.block_parameters / shape.layers if sharded else 0
    cache = rows * length * 2 * 2 * shape.layers * shape.kv_heads * shape.head_dim
    return weights + gathered + cache + rows * length * 2 * (4 * shape.hidden + 3 * shape.neurons)


def estimate(
    task: str, shape: Shape, gpus: int, rates: Rates = Rates(), work: Work = Work()
) -> Forecast:
    """One cell of the table.

    Raises:
        ValueError: Unknown task.
    """
    functions: dict[str, Callable[[Shape, int, Rates, Work], Forecast]] = {
        IDENTIFICATION: _identification,
        FULL: partial(_tuning, budget=False),
        BUDGET: partial(_tuning, budget=True),
        EVALUATION: _evaluation,
    }
    if task not in functions:
        raise ValueError(f"Unknown task '{task}'. Allowed: {', '.join(TASKS)}.")
    return functions[task](shape, gpus, rates, work)


def _fits(seconds: float, memory: float, rates: Rates, sharded: bool, exchange: float) -> Forecast:
    return Forecast(seconds if memory <= rates.card else None, memory, sharded, exchange)


def _identification(shape: Shape, gpus: int, rates: Rates, work: Work) -> Forecast:
    """Whole batches are dealt out; every example's moments travel to rank 0.

    Moments of a window of batches are held until they can be put into the order of the data.
    """
    rows, length = 8, work.calibration_length
    sharded = gpus > 1 and _too_large(shape, rows, length, rates)
    turns = math.ceil(work.calibration / rows / gpus)
    tokens = turns * rows * length
    seconds = rates.hooks * forward_flop(shape, tokens, length, head=False) / rates.forward
    moments = work.calibration * shape.channels * 2 * 8 * (gpus - 1) / gpus
    exchange = moments / _link(gpus, rates)
    if sharded:
        exchange += turns * _gathering(shape, gpus, rates)
    memory = inference_memory(shape, gpus, rows, length, sharded=sharded)
    if gpus == 1:  # with several ranks the held moments lie in rank 0's main memory
        memory += work.held * shape.channels * 2 * 8
    return _fits(seconds + exchange, memory, rates, sharded, exchange)


def _tuning(shape: Shape, gpus: int, rates: Rates, work: Work, *, budget: bool) -> Forecast:
    """Forward, its repetition under checkpointing, and a backward pass of twice its cost."""
    steps = work.epochs * math.ceil(work.examples / (work.batch * gpus))
    tokens = steps * work.batch * work.length
    flop = 4 * forward_flop(shape, tokens, work.length, head=True)
    seconds = flop / rates.forward / (rates.budget_speed if budget else 1.0)
    exchange = 0.0
    if gpus > 1:
        # Weights are gathered forwards and backwards; gradients are summed in float32.
        trained = BUDGET_SHARE * shape.block_parameters if budget else shape.parameters
        summed = 4 * trained * (gpus - 1) / gpus / _link(gpus, rates)
        exchange = steps * (2 * _gathering(shape, gpus, rates) + summed)
    memory = training_memory(shape, gpus, work, budget=budget)
    # FSDP fetches the next block while one computes: the longer of the two counts.
    return _fits(max(seconds, exchange), memory, rates, gpus > 1, exchange)


def _evaluation(shape: Shape, gpus: int, rates: Rates, work: Work) -> Forecast:
    """Prompts are read at the forward rate; each step of a batch reads all weights and its keys.

    A step reads the keys and values of the whole prompt and, on average, of half the new tokens.
    """
    rows, length = work.decode_batch, work.prompt_length + work.new_tokens
    sharded = gpus > 1 and _too_large(shape, rows, length, rates)
    turns = math.ceil(work.prompts / rows / gpus)
    read = forward_flop(shape, turns * rows * work.prompt_length, work.prompt_length, head=False)
    text_turns = math.ceil(work.windows / gpus)
    text = forward_flop(shape, text_turns * work.window, work.window, head=True)
    before = rows * (work.prompt_length + work.new_tokens / 2)
    keys = 2 * 2 * shape.layers * shape.kv_heads * shape.head_dim * before
    decoding = turns * work.new_tokens * (2 * shape.parameters + keys) / rates.decode_bandwidth
    seconds = (read + text) / rates.forward + decoding
    exchange = 0.0
    if sharded:
        exchange = (turns * work.new_tokens + text_turns) * _gathering(shape, gpus, rates)
    memory = inference_memory(shape, gpus, rows, length, sharded=sharded)
    return _fits(seconds + exchange, memory, rates, sharded, exchange)


def _too_large(shape: Shape, rows: int, length: int, rates: Rates) -> bool:
    return inference_memory(shape, 1, rows, length, sharded=False) > rates.card


def _link(gpus: int, rates: Rates) -> float:
    return rates.link if gpus <= rates.per_machine else rates.network


def _gathering(shape: Shape, gpus: int, rates: Rates) -> float:
    """Seconds in which every GPU receives the others' shards of all weights once, in bfloat16."""
    return 2 * shape.parameters * (gpus - 1) / gpus / _link(gpus, rates)


def table(rates: Rates = Rates()) -> str:
    """Markdown: time, in brackets that of exchanging, and memory per GPU of every task."""
    lines = [
        "| task | model | 1 GPU | 8 GPUs | 64 GPUs |",
        "|---|---|---|---|---|",
    ]
    for task in TASKS:
        for name, shape in SHAPES.items():
            cells = [_cell(estimate(task, shape, gpus, rates)) for gpus in (1, 8, 64)]
            lines.append(f"| {task} | {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(found: Forecast) -> str:
    mark = "*" if found.sharded else ""
    memory = f"{found.memory / GIB:.0f} GiB"
    if found.seconds is None:
        return f"does not fit ({memory}){mark}"
    exchange = f" ({duration(found.exchange)})" if found.exchange >= _SHOWN else ""
    return f"{duration(found.seconds)}{exchange}, {memory}{mark}"


def duration(seconds: float) -> str:
    """A duration for people, in seconds, minutes or hours."""
    if seconds < 120:
        return f"{seconds:.1f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
