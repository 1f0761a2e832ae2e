"""lm-evaluation-harness on a model that is in memory, as it is: ablated, trained, with adapters.

The harness's own model class gets the loaded model and tokenizer; nothing is saved or loaded, so
hooks that are in the model are in the evaluation. Needs the extra ``lm-eval``.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import lm_eval
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

from ssah_exp.digest import digest_of
from ssah_exp.errors import DataError
from ssah_exp.evaluation.utility.documents import SUBJECT, read_definition
from ssah_exp.evaluation.utility.file_task import HARNESS_TASKS, file_tasks
from ssah_exp.evaluation.utility.outcomes import TaskOutcomes, TaskRequest
from ssah_exp.models.load import LoadedModel

_FEWSHOT_SEED = 1234  # as ``simple_evaluate`` has it
# Hashes in a sample: the document, the first request made from it with its shots, the right answer.
_HASHES = ("doc_hash", "prompt_hash", "target_hash")
# Filter -> suffix of the metric's name; the leading filter has none.
_FILTERS = {"none": "", "strict-match": "", "flexible-extract": "_flexible"}


def evaluate(loaded: LoadedModel, request: TaskRequest) -> TaskOutcomes:
    """Run one task on a model.

    Args:
        loaded: Model and tokenizer; the model is left as it is.
        request: Which task, how much of it, from where.

    Raises:
        DataError: The task's documents cannot be loaded, or are too few for its shots.
    """
    with _quiet(), _random_aside():
        loaded_tasks = _tasks(request)
        for task in loaded_tasks["tasks"].values():
            _set_shots(task, request.fewshot)
        # The core of the harness's ``simple_evaluate``, which would also seed every generator of
        # the process and look for a git repository.
        results = lm_eval.evaluate(
            lm=_language_model(loaded, request.batch_size),
            task_dict=loaded_tasks,
            limit=request.limit,
            bootstrap_iters=0,  # intervals are made from the outcomes
            log_samples=True,
        )
    return _outcomes(request.task, results)


def _language_model(loaded: LoadedModel, batch_size: int) -> HFLM:
    """The harness's own model class around a model in memory."""
    made = HFLM(
        pretrained=loaded.model,
        tokenizer=loaded.speech.tokenizer,
        backend="causal",
        batch_size=batch_size,
    )
    # It takes the first weight's device, which is none where that weight is offloaded.
    made._device = loaded.device
    return made


def _tasks(request: TaskRequest) -> Any:
    manager = TaskManager(include_defaults=False)
    if request.root is not None:
        return manager.load(list(file_tasks(request.task, request.root)))
    # Given as files, tasks load without reading the harness's thousands of others.
    pattern = read_definition(request.task).harness.replace(SUBJECT, "*")
    paths = sorted(HARNESS_TASKS.glob(pattern))
    try:
        return manager.load([str(path) for path in paths])
    except Exception as error:  # hub, network and data set errors have no common ancestor
        raise DataError(
            f"The harness could not load {request.task} from the hub: {error}. With the files at "
            "hand, give utility.source=files and data.root=DIR."
        ) from error


def _set_shots(task: Any, shots: int | None) -> None:
    """Set the task's own number of shots, or another; ``simple_evaluate`` does the same.

    Raises:
        DataError: There are fewer other questions than that.
    """
    own = task.get_config("num_fewshot")
    wanted = (own or 0) if shots is None else shots
    # Where shots come from the questions' own split, the harness draws one to spare.
    spare = task.fewshot_cfg.split == task.config.test_split
    there = len(task.sampler.df) - spare
    if wanted > there:
        name = task.config.task
        raise DataError(f"{wanted} shots for each question of {name}; there are {there} to show.")
    task.set_config(key="num_fewshot", value=wanted)
    task.set_fewshot_seed(seed=_FEWSHOT_SEED)


def _outcomes(task: str, results: Mapping[str, Any]) -> TaskOutcomes:
    names = sorted(results["samples"])
    answers: dict[str, list[int]] = {}
    documents: list[list[str]] = []
    for name in names:
        for sample in sorted(results["samples"][name], key=lambda item: item["doc_id"]):
            documents.append([sample[part] for part in _HASHES])
            for metric in sample["metrics"]:
                key = f"{metric}{_FILTERS[sample['filter']]}"
                answers.setdefault(key, []).append(int(sample[metric]))
    return TaskOutcomes(
        task=task,
        version=_one({str(results["versions"][name]) for name in names}),
        fewshot=int(_one({str(results["n-shot"][name]) for name in names})),
        available=sum(results["n-samples"][name]["original"] for name in names),
        answers=answers,
        documents=digest_of(documents),
    )


def _one(values: set[str]) -> str:
    """The value that all subjects of a task share."""
    (value,) = values
    return value


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the harness, which warns of a model already in memory: that is intended here."""
    logger = logging.getLogger("lm_eval")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


@contextmanager
def _random_aside() -> Iterator[None]:
    """Restore the state of Python's own generator, which the harness draws from in places."""
    state = random.getstate()
    try:
        yield
    finally:
        random.setstate(state)
