"""The adapter in memory and the harness's command line in turn: every answer, and the time.

    python experiments/utility/compare.py FOLDER DATA_ROOT LIMIT ROUNDS TASK [TASK ...]

FOLDER holds a saved model. Seconds are of processor time, user and system, which other processes
on the machine stretch less than they stretch the clock's; the command line's are of its whole
process, the adapter's of loading and of the evaluation apart.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from ssah_exp.config.schema import ModelConfig
from ssah_exp.evaluation.utility.documents import TASKS_FOLDER
from ssah_exp.evaluation.utility.harness import evaluate
from ssah_exp.evaluation.utility.outcomes import TaskRequest
from ssah_exp.models.load import load_model

BATCH = 8


def by_command_line(folder: str, root: str, limit: int, task: str) -> tuple[list[int], float]:
    """Right (1) or wrong (0) by ``acc``, in order, and seconds of processor time."""
    arguments = {
        "--model": "hf",
        "--model_args": f"pretrained={folder},dtype=float32",
        "--tasks": f"ssah_{task}",
        "--include_path": str(TASKS_FOLDER),
        "--metadata": json.dumps({"root": root}),
        "--limit": str(limit),
        "--batch_size": str(BATCH),
        "--device": "cpu",
    }
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with tempfile.TemporaryDirectory() as place:
        given = [part for pair in arguments.items() for part in pair]
        program = str(Path(sys.executable).parent / "lm_eval")
        command = [program, "run", *given, "--output_path", place, "--log_samples"]
        subprocess.run(command, check=True, capture_output=True)  # noqa: S603  # own arguments
        (path,) = Path(place).rglob("samples_*.jsonl")
        samples = [json.loads(line) for line in path.read_text().splitlines()]
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    ordered = sorted(samples, key=lambda sample: int(sample["doc_id"]))
    return [int(sample["acc"]) for sample in ordered], spent


def main() -> None:
    """Print a line for each round and task."""
    folder, root, limit, rounds, *tasks = sys.argv[1:]
    started = time.process_time()
    config = ModelConfig(name="", source={}, end_of_turn="<|im_end|>", device="cpu")
    loaded = load_model(folder, config)
    print(f"loading {time.process_time() - started:.1f} s")
    for _ in range(int(rounds)):
        for task in tasks:
            started = time.process_time()
            request = TaskRequest(task, int(limit), None, Path(root), BATCH)
            ours = evaluate(loaded, request).answers["acc"]
            spent = time.process_time() - started
            theirs, theirs_spent = by_command_line(folder, root, int(limit), task)
            print(
                f"{task}: n {len(ours)}, acc {sum(ours) / len(ours):.3f}, every answer equal: "
                f"{ours == theirs}; in memory {spent:.1f} s, command line {theirs_spent:.1f} s",
                flush=True,
            )


if __name__ == "__main__":
    main()
