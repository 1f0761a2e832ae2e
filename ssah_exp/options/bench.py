"""Options of `ssah-exp bench`.

Defaults are set before the options they belong to, which take them over.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping

from ssah_exp.bench.defaults import (
    COUNT,
    GENERATE,
    IDENTIFY,
    IDENTIFY_ON_CPU,
    IDENTIFY_ON_CUDA,
    PLACE,
    SHAPE,
    TRAIN,
    TRAIN_ON_CPU,
    TRAIN_ON_CUDA,
)
from ssah_exp.options.base import Commands, add_format, add_root


def add(commands: Commands) -> None:
    """Add `bench`."""
    bench = commands.add_parser("bench", help="measure speed and memory on this machine")
    actions = bench.add_subparsers(dest="action", required=True, metavar="ACTION")
    _train(actions)
    _count(actions)
    _identify(actions)
    _generate(actions)
    growth = actions.add_parser(
        "growth",
        help="time and memory against tokens, layers, width and thresholds, with exponents",
        description="Times statistics on random models, and new classes for random scores, while "
        "one size grows at a time.",
    )
    _place(growth)
    growth.add_argument("--figure", help="also draw the curves here, numbers beside as CSV")
    startup = actions.add_parser("startup", help="the small commands; classes for a scored model")
    check = actions.add_parser(
        "check",
        help="compare ratios with committed ones; a loss of over 10 %% fails, but only warns where "
        "the committed ratio rests on fewer than three rounds",
    )
    check.add_argument("file", help="committed ratios, e.g. benchmarks/ratios.json")
    check.add_argument("--write", action="store_true", help="write today's ratios instead")
    check.add_argument("--threads", type=int, default=1, help="CPU threads")
    for action in (startup, check):
        action.set_defaults(repeats=PLACE["repeats"])
        action.add_argument("--repeats", type=int, help="rounds")
    for name, action in actions.choices.items():
        if name != "check":
            add_format(action, "text", "json")
        if name not in ("growth", "startup"):  # these load no model
            add_root(action, "where the cache lies")
    bench.set_defaults(module="bench")


def _place(parser: argparse.ArgumentParser) -> None:
    """Add where to measure, in what precision and how often."""
    parser.set_defaults(**PLACE)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N")
    parser.add_argument(
        "--precision", choices=("float32", "bfloat16"), help="default: bfloat16 on CUDA only"
    )
    parser.add_argument("--seed", type=int, help="of weights and batches")
    parser.add_argument(
        "--threads",
        type=int,
        help="CPU threads (default: all; for growth 1); on a CPU with 1 thread processor time is "
        "measured, else wall-clock time",
    )
    parser.add_argument("--repeats", type=int, help="interleaved rounds of all arms")


def _shape(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(**SHAPE)
    parser.add_argument(
        "--model",
        help="embedded, llama2-7b, llama2-1b or tiny (default: embedded on a CPU, "
        "llama2-7b with random weights on CUDA)",
    )
    parser.add_argument(
        "--response-share",
        type=float,
        help="share of tokens that count, from the end",
    )


def _sizes(
    parser: argparse.ArgumentParser, per: str, cpu: Mapping[str, int], cuda: Mapping[str, int]
) -> None:
    """Add sizes of batches, whose defaults depend on the device; ``per`` is what takes a batch."""
    for name, what in (("batch", f"sequences per {per}"), ("length", "tokens per sequence")):
        text = f"{what} (default: {cpu[name]}; CUDA: {cuda[name]})"
        parser.add_argument(f"--{name}", type=int, help=text)


def _train(actions: Commands) -> None:
    train = actions.add_parser(
        "train",
        help="training a share of the units beside training everything",
        description="Trains the same model on the same batches, each way in a process of its own: "
        "everything (full), a share of the units by masking gradients (masked), the same share "
        "with parameters for that share alone (compact), all but another share (freeze).",
    )
    train.set_defaults(**TRAIN)
    _place(train)
    _shape(train)
    _shares(train)
    train.add_argument(
        "--compile",
        action=argparse.BooleanOptionalAction,
        help="also full and compact with compiled blocks (a CPU needs a C++ compiler)",
    )
    _sizes(train, "step", TRAIN_ON_CPU, TRAIN_ON_CUDA)
    train.add_argument("--steps", type=int, help="timed steps per arm and repeat")
    train.add_argument("--warmup", type=int, help="steps before them")


def _shares(parser: argparse.ArgumentParser) -> None:
    """Add what is trained, and what is kept beside it."""
    parser.add_argument(
        "--share",
        type=float,
        help="share of the units' weights that masked and compact train, between 0 and 1",
    )
    parser.add_argument(
        "--frozen-share",
        type=float,
        help="share of the units' weights that freeze does not train, between 0 and 1",
    )
    parser.add_argument(
        "--checkpointing",
        action=argparse.BooleanOptionalAction,
        help="compute activations a second time in the backward pass",
    )
    parser.add_argument(
        "--masters",
        action=argparse.BooleanOptionalAction,
        help="float32 copies of bfloat16 weights; without them all of a 7B model fits 80 GB",
    )


def _count(actions: Commands) -> None:
    count = actions.add_parser(
        "count",
        help="memory and matrix products of such a step, of any size, counted without a device",
        description="Takes a step of each way of training on tensors that have shapes and no "
        "numbers, and counts the bytes in use and the floating-point operations of matrix "
        "products. No time is measured.",
    )
    count.set_defaults(**SHAPE | TRAIN | COUNT, seed=PLACE["seed"])
    count.add_argument("--model", help="embedded, llama2-7b, llama2-1b or tiny")
    count.add_argument("--precision", choices=("float32", "bfloat16"), help="of the weights")
    count.add_argument("--response-share", type=float, help="share of tokens that count")
    count.add_argument("--seed", type=int, help="of the choice of units")
    _shares(count)
    count.add_argument("--batch", type=int, help="sequences per step")
    count.add_argument("--length", type=int, help="tokens per sequence")


def _identify(actions: Commands) -> None:
    identify = actions.add_parser(
        "identify",
        help="statistics beside a bare forward pass and beside the published style",
        description="Runs the same calibration batches three ways: the decoder alone (bare), with "
        "the statistics of all blocks (statistics), and block by block, sample by sample, with "
        "hooks placed anew each time (published).",
    )
    identify.set_defaults(**IDENTIFY)
    _place(identify)
    _shape(identify)
    _sizes(identify, "pass", IDENTIFY_ON_CPU, IDENTIFY_ON_CUDA)
    identify.add_argument("--batches", type=int, help="passes per round")


def _generate(actions: Commands) -> None:
    generate = actions.add_parser(
        "generate",
        help="batched answers beside a plain loop, and beside the same with units ablated",
        description="Answers the same random prompts with the embedded model: one by one (loop), "
        "in length-sorted batches (batched), and so with 1 percent of the units ablated (ablated).",
    )
    generate.set_defaults(**GENERATE)
    _place(generate)
    generate.add_argument("--prompts", type=int, help="answered per round")
    generate.add_argument("--new-tokens", type=int, help="of every answer")
    generate.add_argument("--batch", type=int, help="prompts per batch")
