"""Options of `ssah-exp bench`."""

from __future__ import annotations

import argparse

from ssah_exp.options.base import Commands


def add(commands: Commands) -> None:
    """Add `bench`."""
    bench = commands.add_parser("bench", help="measure speed and memory on this machine")
    actions = bench.add_subparsers(dest="action", required=True, metavar="ACTION")
    train = actions.add_parser(
        "train",
        help="training a share of the units beside training everything",
        description="Trains the same model on the same batches in three ways, each in a process "
        "of its own: everything (full), a share of the units by masking gradients (masked), and "
        "the same share with parameters for that share alone (compact).",
    )
    train.add_argument(
        "--model",
        help="embedded, llama2-7b, llama2-1b or tiny (default: embedded on a CPU, "
        "llama2-7b with random weights on CUDA)",
    )
    train.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N (default: auto)")
    train.add_argument(
        "--precision", choices=("float32", "bfloat16"), help="default: bfloat16 on CUDA only"
    )
    train.add_argument("--share", type=float, default=0.2, help="of the units' weights")
    train.add_argument("--batch", type=int, help="sequences per step (default: 2; CUDA: 4)")
    train.add_argument("--length", type=int, help="tokens per sequence (default: 128; CUDA: 512)")
    train.add_argument("--steps", type=int, default=5, help="timed steps per arm and repeat")
    train.add_argument("--warmup", type=int, default=2, help="steps before them")
    train.add_argument("--repeats", type=int, default=3, help="interleaved repeats of all arms")
    train.add_argument("--checkpointing", action=argparse.BooleanOptionalAction, default=False)
    train.add_argument(
        "--response-share",
        type=float,
        default=1.0,
        help="share of tokens in the loss, from the end",
    )
    train.add_argument("--seed", type=int, default=0)
    train.add_argument("--format", choices=("text", "json"), default="text")
    train.add_argument("--root", default=None, help="where the cache lies (default: paths.root)")
    train.set_defaults(module="bench")
