"""Reasoning-direction probe (protocol section 7): both models, every harmful request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from ssah_exp import ranks
from ssah_exp.cache import Entry
from ssah_exp.config.schema import RunConfig
from ssah_exp.config.vocabulary import ALIGNED, UNALIGNED
from ssah_exp.data.chat import encode_request
from ssah_exp.data.datasets import RunData
from ssah_exp.digest import digest_of
from ssah_exp.errors import DataError
from ssah_exp.evaluation.generate import until_stop
from ssah_exp.evaluation.intervals import Estimate, Resampling, rate
from ssah_exp.evaluation.judges import Judge, Verdict
from ssah_exp.evaluation.metrics import assessed, named_failures, resampling_of
from ssah_exp.evaluation.outcomes import Outcomes
from ssah_exp.evaluation.probe.curves import Curve
from ssah_exp.evaluation.probe.measure import Plan, ProbeDistances, end_states, measure
from ssah_exp.evaluation.probe.names import BENIGN, MALICIOUS, REFUSED
from ssah_exp.evaluation.probe.openings import (
    Opening,
    encode_openings,
    random_twins,
)
from ssah_exp.evaluation.probe.separability import Probing, held_out_scores, shuffled_scores
from ssah_exp.evaluation.probe.summary import (
    Continued,
    continuation_rates,
    distance_curves,
    separability_curves,
)
from ssah_exp.evaluation.questions import BENIGN as PLAIN
from ssah_exp.evaluation.questions import BORDERLINE, HARMFUL
from ssah_exp.models.hf_config import reachable_positions
from ssah_exp.models.sources import ModelRef
from ssah_exp.pipeline.opened import Finished, open_run
from ssah_exp.pipeline.progress import Reporter
from ssah_exp.pipeline.stages import Stages
from ssah_exp.records.record import ArmRecord

# Raised when a change of code changes what a stage computes from the same inputs.
PROBE_VERSION, SEPARABILITY_VERSION = 1, 1
# Random twins are cut from this much of the held-out text; all of it would add nothing.
_TEXT_CHARACTERS = 200_000
_SEPARABILITY = "separability.safetensors"


@dataclass(frozen=True)
class ProbeInputs:
    """What both models are given, tokenised.

    Attributes:
        requests: Texts of the harmful requests.
        prompts: Their tokens.
        harmless: Set (``benign`` or ``borderline``) -> tokens of its requests.
        openings: Real ones, then their random twins.
    """

    requests: list[str]
    prompts: list[tuple[int, ...]]
    harmless: dict[str, list[tuple[int, ...]]]
    openings: list[Opening]


def run_probe(config: RunConfig, reporter: Reporter) -> Finished:
    """Measure every model that is not cached, then write the record.

    Args:
        config: A validated config.
        reporter: Receives progress.

    Raises:
        SsahError: Something given is wrong; see its subclasses.
    """
    run = open_run(config, reporter)
    _check_sizes(run.data, config.probe.folds)
    base, stages = run.prepare()
    inputs = probe_inputs(stages)
    _check_positions(inputs, stages, base)  # before the model is trained
    aligned, training = run.align(base, stages)
    models = {UNALIGNED: base, ALIGNED: aligned} if base != aligned else {ALIGNED: aligned}
    arms = [_arm(name, ref, inputs, stages, run.judges) for name, ref in models.items()]
    return run.finish({"base": base, "aligned": aligned}, training, None, stages, arms)


def probe_inputs(stages: Stages) -> ProbeInputs:
    """Requests in the probe's prompt style, openings and their twins.

    Raises:
        DataError: The style, an opening or the text cannot be used.
    """
    config, data, speech = stages.config, stages.data, stages.speech
    probe, system = config.probe, config.evaluation.system_prompt

    def encoded(name: str) -> list[tuple[int, ...]]:
        rows = data.example_sets[name]
        return [tuple(encode_request(speech, row, probe.style, system)) for row in rows]

    prompts = encoded("harmful_eval")
    texts = {BENIGN: probe.benign, MALICIOUS: probe.malicious}
    openings = encode_openings(speech, texts, probe.style, len(prompts))
    text = data.text[:_TEXT_CHARACTERS]
    pool = speech.tokenizer(text, add_special_tokens=False, verbose=False).input_ids
    return ProbeInputs(
        [row.prompt for row in data.harmful_eval],
        prompts,
        {PLAIN: encoded("benign_eval"), BORDERLINE: encoded("borderline_eval")},
        [*openings, *random_twins(openings, pool, config.seed)],
    )


def _check_positions(inputs: ProbeInputs, stages: Stages, base: ModelRef) -> None:
    """Refuse what the model has no positions for: states beyond them say nothing."""
    config = stages.config
    limit = reachable_positions(base.location, config.model, base.commit)
    harmless = [ids for rows in inputs.harmless.values() for ids in rows]
    longest = max(map(len, [*inputs.prompts, *harmless]))
    opening = max(len(ids) for item in inputs.openings for ids in item.ids)
    steps = max(config.probe.steps)
    if limit is not None and longest + opening + steps > limit:
        raise DataError(
            f"The longest request has {longest} tokens, the longest opening {opening}, and the "
            f"model goes on for {steps} (probe.steps): it was made for {limit} positions."
        )


def _check_sizes(data: RunData, folds: int) -> None:
    harmful, harmless = len(data.harmful_eval), len(data.benign_eval) + len(data.borderline_eval)
    if min(harmful, harmless) < folds:
        raise DataError(
            f"probe.folds={folds} needs as many harmful and as many harmless requests; there are "
            f"{harmful} in data.harmful_eval and {harmless} in data.benign_eval and "
            "data.borderline_eval."
        )


def _arm(
    name: str, ref: ModelRef, inputs: ProbeInputs, stages: Stages, judges: Mapping[str, Judge]
) -> ArmRecord:
    """Both cached stages of one model, summarised."""
    config = stages.config
    evaluation = config.evaluation
    resampling = resampling_of(evaluation)
    entry = _distances(name, ref, inputs, stages)
    stages.reporter.done(f"probe {name}", entry)
    measured = ProbeDistances.load(entry.folder)
    continued = Continued(
        measured.tokens.numpy(), inputs.openings, config.probe.steps, stages.speech.stop_ids
    )
    distances = {key: value.double().numpy() for key, value in measured.distances.items()}
    curves, metrics = distance_curves(distances, continued, config.probe.smoothing, resampling)
    metrics |= continuation_rates(continued, evaluation.confidence)
    refused, failed = _refused(measured.tokens[:, 0], inputs, stages, judges)
    metrics |= refused
    entry = _separability(name, ref, inputs, stages)
    stages.reporter.done(f"separability {name}", entry)
    curves |= _separability_curves(load_file(entry.folder / _SEPARABILITY), inputs, resampling)
    return ArmRecord(
        name=name,
        model=name,
        units=0,
        unit_share=0.0,
        parameter_share=0.0,
        metrics=metrics,
        completions="",
        outcomes=Outcomes(failed=failed) if failed else None,
        curves=curves,
    )


def _distances(name: str, ref: ModelRef, inputs: ProbeInputs, stages: Stages) -> Entry:
    """Distances of every request and opening; token ids of continuations stay in the cache."""
    config = stages.config
    probe = config.probe
    plan = Plan(
        tuple(probe.steps),
        tuple(probe.distances),
        probe.continuation == "bare",
        config.evaluation.batch_size,
    )
    material = {
        "version": PROBE_VERSION,
        "model": ref.fingerprint,
        "precision": config.model.precision,
        "prompts": digest_of(inputs.prompts),
        "openings": digest_of([asdict(opening) for opening in inputs.openings]),
        "steps": list(plan.steps),
        "distances": list(plan.distances),
        "same_tokens": plan.same_tokens,
    }

    def compute(folder: Path) -> None:
        loaded = stages.slot.get(ref)
        count = len(inputs.prompts)
        stages.reporter.begin(f"continuing {count} requests x {1 + len(inputs.openings)} inputs")
        with stages.reporter.bar(f"{name} probe", count) as bar:
            measure(loaded, inputs.prompts, inputs.openings, plan, bar).save(folder)

    return stages.cache.get_or_compute("probe", material, compute)


def _separability(name: str, ref: ModelRef, inputs: ProbeInputs, stages: Stages) -> Entry:
    """Held-out scores of the linear probe for every request and depth."""
    config = stages.config
    probe = config.probe
    probing = Probing(probe.folds, probe.shuffles, probe.strength, config.seed)
    harmless = [ids for rows in inputs.harmless.values() for ids in rows]
    prompts = [*inputs.prompts, *harmless]
    material = {
        "version": SEPARABILITY_VERSION,
        "model": ref.fingerprint,
        "precision": config.model.precision,
        "prompts": digest_of(prompts),
        "harmful": len(inputs.prompts),
        **asdict(probing),
    }

    def compute(folder: Path) -> None:
        loaded = stages.slot.get(ref)
        stages.reporter.begin(f"linear probes of {len(prompts)} requests, {name}")
        states = end_states(loaded, prompts, config.evaluation.batch_size).double().numpy()
        labels = np.arange(len(prompts)) < len(inputs.prompts)
        shuffled, false = shuffled_scores(states, labels, probing)
        scores = held_out_scores(states, labels, probing)
        content = {"scores": scores, "shuffled": shuffled, "labels": false}
        save_file(content, folder / _SEPARABILITY)

    return stages.cache.get_or_compute("separability", material, compute)


def _separability_curves(
    content: dict[str, NDArray[np.float64]], inputs: ProbeInputs, resampling: Resampling
) -> dict[str, Curve]:
    sizes = {HARMFUL: len(inputs.prompts), **{k: len(v) for k, v in inputs.harmless.items()}}
    sets = np.repeat(list(sizes), list(sizes.values()))
    shuffled, labels = content["shuffled"], content["labels"].astype(bool)
    return separability_curves(content["scores"], sets, shuffled, labels, resampling)


def _refused(
    tokens: torch.Tensor, inputs: ProbeInputs, stages: Stages, judges: Mapping[str, Judge]
) -> tuple[dict[str, Estimate], dict[str, int]]:
    """Share of bare continuations that each judge calls refusals, and its failures.

    Rank 0 alone asks the judges; the others get no metrics.
    """
    if not ranks.first():
        return {}, {}
    speech, confidence = stages.speech, stages.config.evaluation.confidence
    answers = [until_stop(row, speech) for row in tokens.tolist()]
    texts = speech.tokenizer.batch_decode(answers, skip_special_tokens=True)
    shares: dict[str, Estimate] = {}
    failed: dict[str, int] = {}
    for name, judge in judges.items():
        with ranks.alone():
            judged = assessed(judge, inputs.requests, [text.strip() for text in texts])
        scored = [item.verdict for item in judged if item.verdict is not Verdict.UNSCORED]
        refused = scored.count(Verdict.REFUSED)
        shares[f"{REFUSED}/{name}"] = rate(refused, len(scored), confidence, "requests")
        failed |= named_failures(name, sum(item.failed for item in judged))
    return shares, failed
