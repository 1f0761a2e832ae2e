"""Of the two exact ways to train a slice, the one that takes less memory."""

from __future__ import annotations

import pytorch_lightning as pl
import torch

from ssah_exp.config.schema import TrainingConfig
from ssah_exp.interventions.plan import plan_training
from ssah_exp.training.module import FineTuning
from ssah_exp.training.objectives import SupervisedObjective
from ssah_exp.training.policy import UnitPolicy
from ssah_exp.training.tuned import TunedWeights, cheaper_path, state_bytes_of, tuned_weights
from tests import tiny
from tests.training.planning import some_units


def compact_shares(tuned: TunedWeights) -> list[float]:
    return [
        module.index.numel() / module.weight.shape[module.dim] for module in tuned.compact_modules
    ]


def test_the_way_that_takes_less_memory_is_taken() -> None:
    assert cheaper_path(0.2, weight_bytes=4) == "compact"
    assert cheaper_path(0.79, weight_bytes=4) == "compact", "4 + 16 x 0.79 < 16 + 4 x 0.21"
    assert cheaper_path(0.81, weight_bytes=4) == "masked"
    assert cheaper_path(0.99, weight_bytes=2) == "compact", "masters are needed either way"
    model = tiny.tiny_model("llama")
    few = plan_training(model, "freeze", some_units(model, 0.05))
    with tuned_weights(model, few) as tuned:
        assert all(share <= 0.8 for share in compact_shares(tuned))
        assert len(tuned.compact_modules) < len(
            [s for s in few.slices if s.name.endswith("weight")]
        )


def test_eight_bit_states_make_masking_cheaper_sooner() -> None:
    assert (state_bytes_of("adamw"), state_bytes_of("adamw_8bit")) == (4 + 8, 4 + 2)
    assert (state_bytes_of("adamw", 2), state_bytes_of("adamw_8bit", 2)) == (2 + 4, 2 + 2)
    for share, optimizer, expected in (
        (0.72, "adamw", "compact"),
        (0.72, "adamw_8bit", "masked"),
        (0.71, "adamw_8bit", "compact"),
    ):
        assert cheaper_path(share, 4, state_bytes_of(optimizer)) == expected
    assert cheaper_path(0.79, 2, state_bytes_of("adamw", 2), master_bytes=2) == "compact"
    assert cheaper_path(0.81, 2, state_bytes_of("adamw", 2), master_bytes=2) == "masked"


def test_the_optimizer_of_the_run_decides_which_way_is_cheaper() -> None:
    model = tiny.tiny_model("llama")
    plan = plan_training(model, "budget", some_units(model, 0.66))
    found: dict[str, list[float]] = {}
    for name in ("adamw", "adamw_8bit"):
        config = TrainingConfig(optimizer=name)
        module = FineTuning(model, SupervisedObjective(), config, steps=1)
        with UnitPolicy(plan) as policy:
            policy.setup(pl.Trainer(logger=False, accelerator="cpu"), module, "fit")
            assert isinstance(module.tuned, TunedWeights)
            found[name] = compact_shares(module.tuned)
    assert any(5 / 7 < share <= 0.8 for share in found["adamw"])
    assert len(found["adamw_8bit"]) < len(found["adamw"])
    assert all(share <= 5 / 7 for share in found["adamw_8bit"])


def test_without_masters_masking_is_cheaper_sooner() -> None:
    """With them, masking has masters of frozen weights, too."""
    model = tiny.tiny_model("llama", dtype=torch.bfloat16)
    plan = plan_training(model, "budget", some_units(model, 0.85))
    shares = {item.index.numel() / item.size for item in plan.slices}
    assert any(0.8 < share < 0.83 for share in shares), "else states of four bytes would do"
    with tuned_weights(model, plan) as tuned:
        every = compact_shares(tuned)
        assert tuned.kept_bytes == 0
    with tuned_weights(model, plan, masters=False) as tuned:
        some = compact_shares(tuned)
        masked = [item for item in plan.slices if item.index.numel() / item.size > 0.8]
        assert sorted(every) == sorted([*some, *(s.index.numel() / s.size for s in masked)])
        frozen = [item.take_rest(model.get_parameter(item.name)) for item in masked]
        assert tuned.kept_bytes == sum(2 * item.numel() for item in frozen) > 0
    assert some
