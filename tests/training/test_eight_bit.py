"""8-bit AdamW: said early where it is missing, and run, saved and resumed where it is there.

What is exact is held on a stand-in of bitsandbytes that behaves as AdamW; its own 8-bit states are
trained, saved and resumed on the CPU, and by ``make test-gpu`` on a GPU.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from dataclasses import replace
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from ssah_exp.config.schema import TrainerConfig, TrainingConfig
from ssah_exp.errors import ConfigError
from ssah_exp.interventions.plan import plan_training
from ssah_exp.training.eight_bit import missing_optimizer
from ssah_exp.training.loop import TrainingSummary, fine_tune, supervised_run
from ssah_exp.training.module import make_optimizer
from ssah_exp.training.resume import CHECKPOINT
from tests import tiny
from tests.training.planning import some_units
from tests.training.resuming import KilledError, killed_at

MISSING = r"training\.optimizer=adamw_8bit needs bitsandbytes: pip install 'ssah-exp\[eight-bit\]'"


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """``bitsandbytes.optim.AdamW8bit`` as AdamW; every one that was made."""
    made: list[Any] = []

    class AdamW8bit(torch.optim.AdamW):
        def __init__(self, params: Any, lr: float, weight_decay: float) -> None:
            super().__init__(params, lr=lr, weight_decay=weight_decay, fused=True)
            made.append(self)

    package, optim = ModuleType("bitsandbytes"), ModuleType("bitsandbytes.optim")
    package.__spec__ = ModuleSpec("bitsandbytes", None)
    package.optim = optim  # type: ignore[attr-defined]
    optim.AdamW8bit = AdamW8bit  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "bitsandbytes", package)
    monkeypatch.setitem(sys.modules, "bitsandbytes.optim", optim)
    return made


def trained(
    folder: Path | None = None,
    *,
    optimizer: str = "adamw_8bit",
    policy: str = "budget",
    accelerator: str = "cpu",
    **changes: Any,
) -> tuple[dict[str, torch.Tensor], TrainingSummary]:
    """A tiny model's weights after two epochs, and what the run says of itself."""
    loaded = tiny.tiny_loaded("llama_gqa", **changes)
    config = TrainingConfig(
        epochs=2, batch_size=3, learning_rate=1e-2, weight_decay=0.1, optimizer=optimizer
    )
    trainer = TrainerConfig(accelerator=accelerator, progress=False, checkpoint_minutes=0.0)
    run = replace(
        supervised_run(loaded, tiny.conversations(10), config, 3, trainer), checkpoints=folder
    )
    selected = None if policy == "none" else some_units(loaded.model)
    summary, _ = fine_tune(loaded, run, plan_training(loaded.model, policy, selected))
    return {n: p.detach().clone() for n, p in loaded.model.named_parameters()}, summary


def resumed(folder: Path, **options: Any) -> Any:
    """The result of a run killed after its third batch and started again."""
    with killed_at(3), pytest.raises(KilledError):
        trained(folder, **options)
    return trained(folder, **options)


def test_it_steps_as_what_stands_in_for_it(stand_in: list[Any]) -> None:
    eight, _ = trained(policy="none")
    assert len(stand_in) == 1
    plain, _ = trained(policy="none", optimizer="adamw")
    assert len(stand_in) == 1
    assert all(torch.equal(item, plain[name]) for name, item in eight.items())


@pytest.mark.parametrize("policy", ["none", "budget"])
def test_its_states_are_saved_and_a_killed_run_goes_on_to_the_same_end(
    stand_in: list[Any], policy: str, tmp_path: Path
) -> None:
    wanted, summary = trained(policy=policy)
    found, again = resumed(tmp_path, policy=policy)
    assert len(stand_in) == 3
    assert again.losses == summary.losses
    assert all(torch.equal(item, wanted[name]) for name, item in found.items())
    with killed_at(3), pytest.raises(KilledError):
        trained(tmp_path / "once", policy=policy)
    saved = torch.load(tmp_path / "once" / CHECKPOINT, weights_only=True)
    [states] = saved["optimizer_states"]
    held = [p for group in stand_in[-1].param_groups for p in group["params"]]
    assert len(states["state"]) == len(held)
    assert all(value["exp_avg_sq"].any() for value in states["state"].values())


def test_where_it_is_missing_is_said_before_anything_is_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert missing_optimizer("adamw") is None
    said = missing_optimizer("adamw_8bit")
    assert said is not None
    with pytest.raises(ConfigError, match=MISSING) as raised:
        make_optimizer([torch.nn.Parameter(torch.ones(2))], TrainingConfig(optimizer="adamw_8bit"))
    assert str(raised.value) == said


@pytest.mark.usefixtures("stand_in")
def test_where_it_is_there_nothing_is_said() -> None:
    assert missing_optimizer("adamw_8bit") is None


def test_looking_for_it_loads_neither_torch_nor_bitsandbytes() -> None:
    code = (
        "import sys; from ssah_exp.training.eight_bit import missing_optimizer;"
        "missing_optimizer('adamw_8bit');"
        "sys.exit(bool({'torch', 'bitsandbytes', 'peft'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


ON_A_GPU = pytest.param(
    "gpu",
    marks=(
        pytest.mark.gpu,
        pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
    ),
)


@pytest.mark.parametrize("accelerator", ["cpu", ON_A_GPU])
@pytest.mark.parametrize("policy", ["none", "budget"])
def test_the_real_one_learns_keeps_bytes_and_goes_on(
    policy: str, accelerator: str, tmp_path: Path
) -> None:
    pytest.importorskip("bitsandbytes")
    # Tensors below 4,096 weights have 32-bit states: the MLP must be wide enough.
    options: dict[str, Any] = {
        "policy": policy,
        "accelerator": accelerator,
        "intermediate_size": 512,
    }
    _, summary = trained(**options)
    assert summary.final_loss < summary.first_loss
    _, again = resumed(tmp_path, **options)
    exact = accelerator == "cpu"
    assert again.losses == (summary.losses if exact else pytest.approx(summary.losses, rel=1e-3))
    with killed_at(3), pytest.raises(KilledError):
        trained(tmp_path / "once", **options)
    saved = torch.load(tmp_path / "once" / CHECKPOINT, weights_only=True)
    assert any(item.dtype == torch.uint8 for item in tensors_in(saved["optimizer_states"]))


def tensors_in(value: Any) -> list[torch.Tensor]:
    """Every tensor of a nested state."""
    if isinstance(value, torch.Tensor):
        return [value]
    inner = value.values() if isinstance(value, dict) else value
    return [x for item in inner for x in tensors_in(item)] if isinstance(value, dict | list) else []
