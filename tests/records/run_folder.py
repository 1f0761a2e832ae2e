"""A run's folder as the pipeline leaves it, in small."""

from __future__ import annotations

from pathlib import Path

SECRET = "an answer to a harmful request"


def run_folder(folder: Path, *deltas: str) -> Path:
    """UnitMap, completions and the named deltas."""
    files = {
        "unitmap/unitmap.json": "{}",
        "unitmap/unitmap.safetensors": "scores and classes",
        "completions/aligned.jsonl": SECRET,
        **{f"deltas/{name}.safetensors": f"what {name} changed" for name in deltas},
    }
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder
