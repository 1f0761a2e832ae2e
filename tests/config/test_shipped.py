"""Every YAML file that ships composes and passes the schema."""

from __future__ import annotations

import re
from dataclasses import asdict

import pytest
import yaml

from ssah_exp.config.build import build
from ssah_exp.config.compose import conf_dir, parse
from ssah_exp.config.schema import RunConfig
from ssah_exp.errors import ConfigError
from ssah_exp.sweeps.listing import jobs_of
from tests.config.composing import composed, config_of, group_folders, names_of, options
from tests.thinning import thinned

LISTS = "paper_smollm2"


def chosen(group: str, option: str) -> list[str]:
    """How an option is chosen: some groups are not in the defaults list, they are added by name."""
    if group == "size":
        return [f"experiment={LISTS}", f"size={option}"]
    places = {
        "judge": "evaluation.judges.extra",
        "selector": "training.arms.extra.select",
        "adapter": "training.arms.extra.adapter",
        "attack": "evaluation.attacks.extra",
    }
    return [f"+{group}@{places[group]}={option}" if group in places else f"{group}={option}"]


@pytest.mark.parametrize(("group", "option"), thinned(options()))
def test_every_option_composes_and_parses(group: str, option: str) -> None:
    files = option.endswith("_files") and group not in ("data", "experiment")
    config = config_of(*chosen(group, option), *(["data.root=given"] if files else []))
    if group == "judge":
        assert config.evaluation.judges["extra"]["name"] == option
    if group == "attack":
        assert config.evaluation.attacks["extra"].method["name"] == option


def hub_ids() -> list[str]:
    texts = [path.read_text(encoding="utf-8") for path in sorted(conf_dir().rglob("*.yaml"))]
    return [found for text in texts for found in re.findall(r"repo_id: *(\S+)", text)]


def test_hub_ids_name_their_owner() -> None:
    """Since huggingface_hub 2 an id like "wikitext" is refused before anything is asked."""
    ids = hub_ids()
    assert len(ids) >= 15
    for found in ids:
        assert found.count("/") == 1, found


def test_the_walk_saw_every_group() -> None:
    assert len(options()) >= 25
    assert {group for group, _ in options()} == group_folders()
    assert {"model", "data", "finetune", "judge", "experiment", "debug"} <= group_folders()


@pytest.fixture(scope="module", params=thinned(names_of("size")))
def study(request: pytest.FixtureRequest) -> dict[tuple[str, ...], RunConfig]:
    """Overrides -> config of every job of the whole paper; composed once, for nobody to change."""
    content = yaml.safe_load((conf_dir() / "size" / f"{request.param}.yaml").read_text())
    arguments = [f"experiment={LISTS}", f"size={request.param}", "data.root=given", "seed=0"]
    shared = content.get("shared", "")
    jobs = jobs_of(arguments, None, content["jobs"], ["experiment", "size"], shared)
    return {tuple(job): config_of(*job) for job in jobs}


def test_every_job_of_the_whole_paper_composes(study: dict[tuple[str, ...], RunConfig]) -> None:
    assert {config.artefact for config in study.values()} >= {
        "table1_pruning",
        "table2_freezing",
        "table4_alignment_budget",
        "probe",
    }
    assert {config.data.root for config in study.values()} == {"given"}
    assert all(LISTS not in word for job in study for word in job)


def test_the_whole_study_is_about_one_aligned_model_a_seed(
    study: dict[tuple[str, ...], RunConfig],
) -> None:
    """Else its tables would be of several models."""
    alignments = [
        {**asdict(config.alignment), "data": config.data.alignment}
        for config in study.values()
        if config.training is None or config.training.start == "aligned"
    ]
    assert len(alignments) > 10
    assert all(alignment == alignments[0] for alignment in alignments)


@pytest.mark.parametrize("experiment", names_of("experiment"))
def test_every_experiment_composes_with_debug(experiment: str) -> None:
    config = config_of(f"experiment={experiment}", "debug=fast")
    assert config.evaluation.max_new_tokens == 4


@pytest.mark.parametrize("name", names_of("model"))
def test_every_model_source_can_be_built(name: str) -> None:
    node = config_of(f"model={name}").model.source
    assert callable(build(node, "model.source").resolve)
    if node["_target_"].endswith(("HubModel", "HubGguf")):
        assert len(node["revision"]) == 40, "not pinned to a commit"
        assert int(node["revision"], 16) >= 0


@pytest.mark.parametrize(
    "name", [name for name in names_of("attack") if name not in ("pair", "pair_local")]
)
def test_every_attack_can_be_built(name: str) -> None:
    """These two need an endpoint or folders; tests/evaluation/test_partners.py builds those."""
    attack = build(
        config_of(f"+attack@evaluation.attacks.extra={name}").evaluation.attacks["extra"].method,
        "attack",
    )
    assert callable(attack.attempts)


@pytest.mark.parametrize("name", names_of("data"))
def test_every_data_source_can_be_built(name: str) -> None:
    data = config_of(f"data={name}").data
    nodes = [*data.alignment, data.safety_calibration, data.utility_calibration]
    nodes += [data.harmful_eval, data.benign_eval, data.borderline_eval]
    assert all(callable(build(node, "data").load) for node in nodes)
    assert callable(build(data.text, "data.text").load_text)


@pytest.mark.parametrize("name", names_of("finetune"))
@pytest.mark.parametrize("data", ["bundled", "paper_files"])
def test_every_finetune_source_can_be_built(name: str, data: str) -> None:
    sources = config_of(f"data={data}", f"finetune={name}").data.finetune
    assert sources
    assert all(callable(build(node, "data.finetune").load) for node in sources)


def test_harmful_examples_come_only_from_a_file_the_user_names() -> None:
    with pytest.raises(ConfigError, match=r"data\.finetune\.0\.harmful\.path is missing; give it"):
        parse(composed("finetune=mixed"))
    given = parse(composed("finetune=mixed", "data.finetune.0.harmful.path=mine.jsonl"))
    assert given.data.finetune[0]["harmful"]["path"] == "mine.jsonl"


def test_the_default_needs_no_override_and_no_network() -> None:
    config = config_of()
    assert config.model.source["_target_"].endswith("WheelGguf")
    assert config.data.name == "bundled"
    assert config.seed == 0
