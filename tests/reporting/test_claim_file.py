"""Files of claims: what is wrong with one is said, and none fills the memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from ssah_exp.errors import ConfigError
from ssah_exp.reporting.claims.claim_file import read_claims
from tests.records.synthetic import JUDGE

METRIC = f"asr/raw/{JUDGE}"
SCU_ABOVE = {"shows": "higher", "arm": "SCU/pooled", "against": "aligned", "metric": METRIC}
CLAIM = {"claim": "c", "artefact": "probe"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"claims": []}, "at least one claim"),
        ({"alpha": 2}, "between 0 and 1"),
        ({"alfa": 0.1}, "Did you mean 'alpha'"),
        ({"rate_margin": 0}, "above 0"),
        ({"rate_margin": 5}, "rate_margin is 5; it must lie between 0 and 1"),
        (
            {"claims": [{**CLAIM, "tests": [{**SCU_ABOVE, "margin": 5}]}]},
            "margin is 5; it must lie between 0 and 1",
        ),
        ({"claims": [{"claim": "c", "tests": []}]}, "at least one of 'tests'"),
        ({"claims": [{"claim": "c", "tests": [SCU_ABOVE]}]}, "needs an 'artefact'"),
        (
            {"claims": [{**CLAIM, "tests": [{**SCU_ABOVE, "shows": "up"}]}]},
            r"'shows' is up\. Allowed: higher, lower, same, no_higher, no_lower\.$",
        ),
        (
            {"claims": [{**CLAIM, "tests": [{**SCU_ABOVE, "shows": "same", "arm": "aligned"}]}]},
            "claim 1, test 1: 'arm' and 'against' are both aligned; name two arms",
        ),
        (
            {"claims": [{**CLAIM, "tests": [{**SCU_ABOVE, "arms": "x"}]}]},
            "unknown key 'arms'",
        ),
        (
            {"claims": [{**CLAIM, "tests": [{**SCU_ABOVE, "arm": 5}]}]},
            "'arm' is 5; it must be text",
        ),
        (
            {"claims": [{"claim": "c", "artefact": "prob", "tests": [SCU_ABOVE]}]},
            r"claim 1: artefact=prob\. Did you mean 'probe'\?",
        ),
        (
            {
                "claims": [
                    {
                        **CLAIM,
                        "where": {"data.nam": "x", "training.arms.any.epochs": 2},
                        "tests": [SCU_ABOVE],
                    }
                ]
            },
            r"claim 1: 'where' has unknown key 'data\.nam'\. Did you mean 'name'\?",
        ),
    ],
)
def test_wrong_files_are_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    content = {"claims": [{**CLAIM, "tests": [SCU_ABOVE]}], **change}
    path = tmp_path / "claims.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    with pytest.raises(ConfigError, match=message):
        read_claims(path)


def laughing(first: str, form: str) -> str:
    """YAML of items that hold the one before ten times: the last the first one a million times."""
    lines = [f"- &l0 {first}"]
    for at in range(6):
        ten = ", ".join([f"*l{at}"] * 10)
        lines.append(f"- &l{at + 1} " + form.format(ten))
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("claims", "said"),
    [
        (laughing("ha", "[{}]"), "with its aliases written out it has more than 1,000,000 letters"),
        (laughing("{h: a}", "{{<<: [{}]}}"), "with its aliases written out it has more"),
        ("- &within {claim: *within}", "with its aliases written out"),
        ("- " + "[" * 5000 + "]" * 5000, "it is nested too deep"),
    ],
)
def test_what_no_memory_holds_is_refused(tmp_path: Path, claims: str, said: str) -> None:
    path = tmp_path / "claims.yaml"
    path.write_text(f"claims:\n{claims}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=f"claims.yaml cannot be read: {said}"):
        read_claims(path)


def test_why_a_file_cannot_be_read_is_one_line_with_its_path_once(tmp_path: Path) -> None:
    missing, prose = tmp_path / "missing.yaml", tmp_path / "README.md"
    prose.write_text("# Title\n\n**Question.** Which?\n", encoding="utf-8")
    with pytest.raises(ConfigError) as no_file:
        read_claims(missing)
    assert str(no_file.value) == f"{missing} cannot be read: No such file or directory"
    with pytest.raises(ConfigError) as no_yaml:
        read_claims(prose)
    assert "while scanning an alias" in str(no_yaml.value)
    assert "\n" not in str(no_yaml.value)


def test_aliases_of_aliases_and_merged_keys_are_read(tmp_path: Path) -> None:
    path = tmp_path / "claims.yaml"
    path.write_text(
        f"""claims:
  - &first
    claim: c
    artefact: probe
    where: &where {{seed: 1}}
    tests: &tests [&test {{shows: higher, arm: SCU/pooled, metric: {METRIC}}}]
  - {{<<: *first, claim: d, tests: [*test, {{<<: *test, shows: same}}]}}
  - {{claim: e, artefact: probe, where: *where, tests: *tests}}
""",
        encoding="utf-8",
    )
    claims = read_claims(path).claims
    assert [claim.claim for claim in claims] == ["c", "d", "e"]
    assert [claim.where for claim in claims] == [{"seed": 1}] * 3
    assert [test.shows for claim in claims for test in claim.tests] == [
        "higher", "higher", "same", "higher",
    ]  # fmt: skip
