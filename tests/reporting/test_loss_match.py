"""What a training table says of arms that stop at another's loss."""

from __future__ import annotations

from dataclasses import replace

from ssah_exp.records.record import ArmRecord
from ssah_exp.reporting.training_table import render_training
from tests.records.synthetic import (
    trained_arm,
    trained_arms,
    training_record,
)


def after(epochs: float, *changed: ArmRecord) -> list[ArmRecord]:
    """Arms of a record, the changed ones in place of theirs, each trained for ``epochs`` of 2."""
    others = {item.name: item for item in changed}
    return [
        replace(item, training=item.training and {**item.training, "epochs": epochs})
        for item in (others.get(item.name, item) for item in trained_arms())
    ]


def test_how_near_matched_arms_came_to_the_loss_is_said() -> None:
    """By hand: setting_i 1.3 against full 1.2, controls at 1.1, 1.2 and 1.3; the second seed's
    setting_i ended at 1.1."""
    again = after(2.0, trained_arm("setting_i", 0.3, 1.1))
    records = [training_record(arms=after(2.0)), training_record(1, arms=again)]
    assert (
        "Trained until the training loss of full was reached, at looks at most 5 steps apart; "
        "training loss less that one, mean [least, most]: "
        "setting_i +0.000 [-0.100, +0.100] (not reached in 1); "
        "random like setting_i +0.000 [-0.100, +0.100] (not reached in 2)."
    ) in render_training(records, "markdown")
    never = render_training([training_record(arms=after(2.0))], "markdown")
    assert "setting_i +0.100 (not reached);" in never


def test_an_arm_that_a_look_ended_got_there_whatever_merging_did_to_its_loss() -> None:
    """A look sees an adapter before it is merged; the record has the loss after."""
    ended = training_record(arms=after(1.5, trained_arm("setting_i", 0.3, 1.207)))
    text = render_training([ended], "markdown")
    assert "setting_i +0.007;" in text
    assert "not reached" not in text
    ended.config["training"]["callbacks"] = {"own": {"_target_": "mine.Stops"}}
    text = render_training([ended], "markdown")
    assert "setting_i +0.007 (not reached);" in text, "a callback may have ended it"


def test_an_arm_whose_very_last_look_found_the_loss_got_there() -> None:
    """Its epochs were over then, too; the record says what the look found."""
    arm = trained_arm("setting_i", 0.3, 1.207)
    told = replace(arm, training={**(arm.training or {}), "reached": True})
    record = training_record(arms=after(2.0, told))
    text = render_training([record], "markdown")
    assert "setting_i +0.007;" in text
    record.config["training"]["callbacks"] = {"own": {"_target_": "mine.Stops"}}
    assert "setting_i +0.007;" in render_training([record], "markdown")


def test_tables_without_a_loss_to_match_say_nothing_of_it() -> None:
    arms = [trained_arm("full", 0.1, 1.2), trained_arm("ru20", 0.2, 1.3)]
    record = training_record(artefact="table4_alignment_budget", arms=arms)
    assert "Trained until" not in render_training([record], "markdown")
