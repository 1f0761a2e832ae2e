"""Units: how they are scored and classed, what is ablated, what an atlas varies."""

from __future__ import annotations

from dataclasses import dataclass, field

from omegaconf import MISSING

from ssah_exp.config.schema.target import Target


@dataclass
class BudgetsConfig:
    """Class budgets, protocol section 2: shares of ``unit``, assigned RU, then SCU, then UCU.

    Attributes:
        scu: Share of the safety-critical units.
        ucu: Share of the utility-critical units.
        ru: Share of the redundant units.
        unit: What the shares are of: ``params`` or ``units``.
        overlap: ``overwrite``: a later class takes units from an earlier one; ``refill``: every
            budget is filled nevertheless.
    """

    scu: float = 0.01
    ucu: float = 0.10
    ru: float = 0.10
    unit: str = "params"
    overlap: str = "overwrite"


@dataclass
class UnitsConfig:
    """Statistics, scores and classes.

    Attributes:
        statistic: ``variance`` (exact) or ``flap`` (the precursor's running statistic).
        tokens: Which positions count: ``response`` or ``all``.
        samples: Sequences per calibration set.
        min_samples: Smallest number of usable sequences; fewer are an error.
        max_length: Longest sequence in tokens.
        batch_size: Sequences per forward pass; changes no score beyond rounding.
        prompt_style: How calibration prompts are rendered.
        square_attention: Square attention channel scores before normalising.
        unweighted: Score by how much activations vary alone, whatever weights they meet (IFV of
            An et al. 2024, arXiv 2312.11983; the paper's score is their WIFV).
        scoring: A class that scores units; null = the paper's scores, of which ``statistic``,
            ``square_attention`` and ``unweighted`` are settings.
        budgets: See :class:`BudgetsConfig`.
    """

    statistic: str = "variance"
    tokens: str = "response"
    samples: int = 128
    min_samples: int = 8
    max_length: int = 512
    batch_size: int = 8
    prompt_style: str = "chat"
    square_attention: bool = True
    unweighted: bool = False
    scoring: Target | None = None
    budgets: BudgetsConfig = field(default_factory=BudgetsConfig)


@dataclass
class ControlsConfig:
    """Null distributions: control sets beside classes and sets of units.

    Attributes:
        kinds: Any of ``random``, ``matched``, ``shifted`` and ``normed``.
        of: Classes and sets that get controls.
        draws: Control sets of each kind for each of them.
        match_pool: Candidates per unit for all but ``random``.
        overlap: Whether control sets may share units with the class or set they stand beside;
            needed where that holds more than half of a layer's heads or neurons.
        exclude: Classes that no control draws from: units near a large class in size of score are
            mostly of the other classes that score high.
    """

    kinds: list[str] = field(default_factory=lambda: ["random", "matched"])
    of: list[str] = field(default_factory=lambda: ["SCU", "RU"])
    draws: int = 3
    match_pool: int = 5
    overlap: bool = False
    exclude: list[str] = field(default_factory=list)


@dataclass
class AblationConfig:
    """Which units are pruned and what replaces their activations.

    Attributes:
        classes: Unit classes, pruned one at a time.
        sets: Other sets of units by name, each from a selector, pruned after the classes. Without
            classes and sets, dense models alone are measured.
        fills: ``safety``, ``utility``, ``pooled`` (calibration means) and/or ``zero``.
        primary_fill: The fill every class, set and control gets.
        fills_of: Classes and sets that also get the other fills.
        controls: See :class:`ControlsConfig`.
    """

    classes: list[str] = field(default_factory=lambda: ["SCU", "UCU", "CU", "RU"])
    sets: dict[str, Target] = field(default_factory=dict)
    fills: list[str] = field(default_factory=lambda: ["pooled", "safety", "utility", "zero"])
    primary_fill: str = "pooled"
    fills_of: list[str] = field(default_factory=lambda: ["SCU", "UCU", "CU", "RU"])
    controls: ControlsConfig = field(default_factory=ControlsConfig)


@dataclass
class CalibrationConfig:
    """Another way to calibrate a run's model; what is null stays as in the run.

    Attributes:
        differs: What differs from the run, for readers, e.g. ``safety data``.
        safety: Harmful requests with refusals, or without (``own_refusals``).
        utility: Benign requests with answers.
        own_refusals: Take from ``safety`` the requests alone, have the model answer them, and keep
            what the primary judge calls a refusal.
        answer_tokens: Longest such answer in tokens; null = ``evaluation.max_new_tokens``.
        tokens: ``response`` or ``all``.
        seed: Seed of the draw of examples; another than the run's draws others from its sources.
        floor: Whether it is unrelated to safety: then shown, but no part of the consensus.
    """

    differs: str = MISSING
    safety: Target | None = None
    utility: Target | None = None
    own_refusals: bool = False
    answer_tokens: int | None = None
    tokens: str | None = None
    seed: int | None = None
    floor: bool = False


@dataclass
class AtlasConfig:
    """What `ssah-exp units atlas` compares the units of a run with; no run reads it.

    Attributes:
        pool: How many examples of each of the run's own calibration sources to take draws of every
            size from; 0 = leave sizes out.
        settings: Ways to calibrate, by name.
    """

    pool: int = 0
    settings: dict[str, CalibrationConfig] = field(default_factory=dict)
