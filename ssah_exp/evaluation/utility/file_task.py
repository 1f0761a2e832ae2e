"""The harness's own task with its documents taken from files.

Templates, choices, metrics, normalisation, filters and version are read from the harness's
definition; only the source of the documents differs. The harness's command line runs the same:
``lm_eval --include_path .../utility/tasks --metadata '{"root": "DIR"}' --tasks ssah_boolq``.

Needs the extra ``lm-eval``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lm_eval.tasks
from datasets import Dataset, DatasetDict
from lm_eval.api.task import ConfigurableTask
from lm_eval.tasks._yaml_loader import load_yaml

from ssah_exp.errors import DataError
from ssah_exp.evaluation.utility.documents import FileDefinition, definitions, parse_definition

HARNESS_TASKS = Path(lm_eval.tasks.__file__).parent
_SPLITS = ("training_split", "validation_split", "test_split")
# Fields of a registry entry, not of a task.
_STRUCTURE = ("tag", "group", "task_list", "task_alias")


class FileTask(ConfigurableTask):  # type: ignore[misc]  # the harness has no types
    """A task of the harness on documents from files.

    Args:
        config: A definition of ``tasks/`` with ``metadata.root``, the folder of the files.

    Raises:
        DataError: ``metadata.root`` is missing, or a file is missing or malformed.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        given = dict(config.get("metadata") or {})
        if not given.get("root"):
            raise DataError(
                f"Task {config['task']} needs the folder of its files: --metadata "
                '\'{"root": "DIR"}\'.'
            )
        definition, root = parse_definition(config), Path(given["root"]).expanduser()
        super().__init__(config=_configuration(str(config["task"]), definition, root))


def file_tasks(task: str, root: Path) -> list[FileTask]:
    """The task that we call ``task``, or one task per subject; raises as :func:`definitions`."""
    return [
        FileTask(
            {
                "task": name,
                "harness": item.harness,
                "files": item.files,
                "recover": item.recover,
                "metadata": {"root": str(root)},
                **item.changes,
            }
        )
        for name, item in definitions(task, root).items()
    ]


def _configuration(name: str, definition: FileDefinition, root: Path) -> dict[str, Any]:
    harness = load_yaml(HARNESS_TASKS / definition.harness)
    kept = {key: value for key, value in harness.items() if key not in _STRUCTURE}
    absent = {key: None for key in _SPLITS if kept.get(key) not in definition.files}

    def load(**_: Any) -> DatasetDict:
        """What the harness calls in place of downloading."""
        return DatasetDict(
            {
                split: Dataset.from_list(documents)
                for split, documents in definition.documents(root).items()
            }
        )

    return {**kept, **absent, **definition.changes, "task": name, "custom_dataset": load}
