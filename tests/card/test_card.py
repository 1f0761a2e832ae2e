"""Every tensor is where it is needed: whole runs on a card that is none give the CPU's numbers."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.card.on_card import CPU
from tests.card.runs import RUNS

HERE = Path(__file__).parent
COMPILER = shutil.which("g++")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(COMPILER is None, reason="needs g++"),
    pytest.mark.skipif(torch.version.cuda is not None, reason="this torch has a runtime"),
]


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The compiled runtime."""
    out = tmp_path_factory.mktemp("card") / "runtime.so"
    libraries = Path(torch.__file__).parent / "lib"
    command = [str(COMPILER), "-O1", "-std=c++20", "-shared", "-fPIC", str(HERE / "runtime.cpp")]
    command += [f"-I{libraries.parent / 'include'}", f"-L{libraries}", f"-Wl,-rpath,{libraries}"]
    subprocess.run([*command, "-lc10", "-ltorch_cpu", "-o", str(out)], check=True)
    return str(out)


def made(device: str, kind: str, folder: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.card.on_card", device, kind, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=HERE.parents[1])
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def told(record: dict[str, Any]) -> dict[str, Any]:
    """What a record says of classes and arms, without intervals: a name for every number."""
    arms = {arm["name"]: arm for arm in record["arms"]}
    values = {
        f"{name} {metric}": found["value"]
        for name, arm in arms.items()
        for metric, found in arm["metrics"].items()
    }
    assert len(values) > 10 * len(arms)
    return values


@pytest.mark.parametrize("kind", RUNS)
def test_a_run_on_the_card_is_the_run_on_the_cpu(kind: str, runtime: str, tmp_path: Path) -> None:
    there, here = made(runtime, kind, tmp_path / "card"), made(CPU, kind, tmp_path / "cpu")
    assert there["operations"] > 10_000
    assert here["operations"] == 0
    assert told(there["record"]) == pytest.approx(told(here["record"]), rel=1e-3)
    assert there["record"]["classes"] == here["record"]["classes"]


@pytest.mark.parametrize(
    ("mixture", "refused"),
    [
        ("card + host", True),
        ("host.add_(card)", True),
        ("card.index_fill_(0, host_index, 1.0)", True),
        ("torch.randn(3, device=cuda, generator=torch.Generator())", True),
        ("card.numpy()", True),
        ("card + card", False),
        ("card * one", False),
        ("card[host_index]", False),
        ("card.copy_(host)", False),
        ("card.cpu() + host", False),
    ],
)
def test_the_card_refuses_what_a_card_refuses(mixture: str, refused: bool, runtime: str) -> None:
    program = f"""
import ctypes
ctypes.CDLL({runtime!r}, mode=ctypes.RTLD_GLOBAL)
import torch
from tests.card import card as device
device.install()
cuda = torch.device("cuda")
card, host = torch.ones(3, device=cuda), torch.ones(3)
one, host_index = torch.tensor(1.0), torch.tensor([0, 2])
{mixture}
"""
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, cwd=HERE.parents[1])
    assert (done.returncode != 0) == refused, done.stderr[-2000:]
    if refused:
        assert any(said in done.stderr for said in ("same device", "generator", "numpy"))
