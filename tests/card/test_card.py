"""Every tensor is where it is needed: whole runs on a card that is none give the CPU's numbers."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from math import log
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.card.on_card import CPU, REOPENED
from tests.card.runs import HALVED, RUNS

HERE = Path(__file__).parent
REFUSALS = ("same device", "generator", "numpy", "nference tensor")
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


def both(kind: str, runtime: str, folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """What one kind of run gives on the card, and on the CPU."""
    with ThreadPoolExecutor() as pool:
        there, here = pool.map(
            made, (runtime, CPU), (kind, kind), (folder / "card", folder / "cpu")
        )
    assert there["operations"] > 10_000
    assert here["operations"] == 0
    return there, here


def told(record: dict[str, Any]) -> dict[str, Any]:
    """What a record says of classes and arms, without intervals: a name for every number."""
    arms = {arm["name"]: arm for arm in record["arms"]}
    values = {
        f"{name} {metric}": found["value"]
        for name, arm in arms.items()
        for metric, found in arm["metrics"].items()
    }
    for name, arm in arms.items():
        curves = {curve: found["value"] for curve, found in arm["curves"].items()}
        values |= numbers(curves, name)
    assert len(values) > 10 * len(arms)
    return values


def numbers(said: Any, name: str = "") -> dict[str, Any]:
    """The leaves of JSON, each by the way to it."""
    if not isinstance(said, (dict, list)):
        return {name: said}
    parts = said.items() if isinstance(said, dict) else enumerate(said)
    return {
        way: leaf for key, part in parts for way, leaf in numbers(part, f"{name}/{key}").items()
    }


def differing(there: dict[str, Any], here: dict[str, Any]) -> list[str]:
    """Names under which not the same is said; numbers may be rounded otherwise."""
    assert there.keys() == here.keys()
    wanted = {
        name: pytest.approx(said, rel=1e-3) if isinstance(said, (int, float)) else said
        for name, said in here.items()
    }
    return [name for name in wanted if there[name] != wanted[name]]


@pytest.mark.parametrize("kind", [kind for kind in RUNS if kind != HALVED])
def test_a_run_on_the_card_is_the_run_on_the_cpu(kind: str, runtime: str, tmp_path: Path) -> None:
    there, here = both(kind, runtime, tmp_path)
    assert differing(told(there["record"]), told(here["record"])) == []
    assert there["record"]["classes"] == here["record"]["classes"]


def test_weights_of_two_bytes_are_trained_as_far_on_the_card(runtime: str, tmp_path: Path) -> None:
    """A CPU's kernels for them round otherwise than several operations in a row."""
    there, here = (
        {name: log(value) for name, value in told(run["record"]).items() if "perplexity" in name}
        for run in both(HALVED, runtime, tmp_path)
    )
    assert len(here) == 4
    assert there == pytest.approx(here, rel=0.05)


def test_commands_that_take_a_run_up_again_say_the_same_on_the_card(
    runtime: str, tmp_path: Path
) -> None:
    there, here = (numbers(found["said"]) for found in both(REOPENED, runtime, tmp_path))
    assert differing(there, here) == []


@pytest.mark.parametrize(
    ("mixture", "refused"),
    [
        ("card + host", True),
        ("host.add_(card)", True),
        ("card.index_fill_(0, host_index, 1.0)", True),
        ("torch.randn(3, device=cuda, generator=torch.Generator())", True),
        ("card.numpy()", True),
        ("weight * copied", True),
        ("torch.where(mask, weight, weight)", True),
        ("copied.add_(1)", True),
        ("weight * copied_outside", False),
        ("weight * view", False),
        ("weight + copied", False),
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
weight = torch.nn.Parameter(card.clone())
with torch.inference_mode():
    copied, mask, view = host.to(cuda), (host > 0).to(cuda), card[:]
    with torch.inference_mode(False):
        copied_outside = host.to(cuda)
{mixture}
"""
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, cwd=HERE.parents[1])
    assert (done.returncode != 0) == refused, done.stderr[-2000:]
    if refused:
        assert any(said in done.stderr for said in REFUSALS)
