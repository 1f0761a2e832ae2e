"""`ssah-exp delta` through the command."""

from __future__ import annotations

import json
from itertools import chain
from pathlib import Path

import pytest

from ssah_exp.cli import main
from ssah_exp.digest import digest_folder
from ssah_exp.interventions.delta import Delta
from ssah_exp.interventions.plan import TrainingPlan
from ssah_exp.models.sources import LocalFolder
from tests.interventions.pairs import Pair, changed_at
from tests.interventions.tuning import TRAIN_ALL_OTHERS, plan_for, raw_files, tuned
from tests.tiny import tiny_model

Capture = pytest.CaptureFixture[str]


class Place:
    """Folders of a base and a tuned model; the paths of what the command writes."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.base, self.tuned, self.out = (str(root / name) for name in ("base", "tuned", "out"))
        self.file = str(root / "delta.safetensors")
        model = tiny_model("llama_gqa")
        self.model, self.plan = model, plan_for(model, "budget", TRAIN_ALL_OTHERS)
        model.save_pretrained(self.base)
        tuned(model, self.plan).save_pretrained(self.tuned)

    def create(self) -> None:
        assert main(["delta", "create", self.base, self.tuned, self.file]) == 0

    def refused(self, capture: Capture, *arguments: str) -> str:
        """The one line of a call that must fail with code 2 and change nothing."""
        capture.readouterr()
        before = digest_folder(self.root), sorted(self.root.rglob("*"))
        assert main(["delta", *arguments]) == 2
        said = capture.readouterr()
        assert said.out == ""
        (line,) = said.err.splitlines()
        assert (digest_folder(self.root), sorted(self.root.rglob("*"))) == before
        return line.removeprefix("ssah-exp: ")


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.mark.parametrize("which", ["base", "tuned"])
def test_a_model_with_an_adapter_has_no_delta(place: Place, capsys: Capture, which: str) -> None:
    """Applied, it would give the weights without what was trained beside them."""
    folder = place.root / which
    (folder / "adapter").mkdir()
    line = place.refused(capsys, "create", place.base, place.tuned, place.file)
    assert line.startswith(f"{folder} carries an adapter beside its weights")


@pytest.mark.parametrize(("action", "which"), [("apply", "base"), ("revert", "tuned")])
def test_a_model_with_an_adapter_takes_no_delta(
    place: Place, capsys: Capture, action: str, which: str
) -> None:
    """The copy would load with an adapter that neither of the two models has."""
    place.create()
    folder = place.root / which
    (folder / "adapter").mkdir()
    for more in ([], ["--other-base"]):
        line = place.refused(capsys, action, place.file, str(folder), place.out, *more)
        assert line.startswith(f"{folder} carries an adapter beside its weights")
        assert line.endswith("Nothing was written.")


def test_create_apply_revert(place: Place, capsys: Capture) -> None:
    place.create()
    assert main(["delta", "apply", place.file, place.base, place.out]) == 0
    assert raw_files(Path(place.out)) == raw_files(Path(place.tuned))
    again = place.root / "again"
    assert main(["delta", "revert", place.file, place.out, str(again)]) == 0
    assert raw_files(again) == raw_files(Path(place.base))
    said = capsys.readouterr().out.splitlines()
    assert said == [f"wrote {path}" for path in (place.file, place.out, again)]


def test_the_base_is_named_as_everywhere(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place.base)
    assert main(["delta", "create", ".", place.tuned, place.file]) == 0
    base, fingerprint = Delta.load(Path(place.file)).base, LocalFolder(place.base).fingerprint()
    assert (base.identifier, base.revision) == ("base", fingerprint[:12])
    assert base.fingerprint == fingerprint
    assert str(place.root) not in Path(place.file).read_bytes().decode("latin-1")


def test_show_as_json(place: Place, capsys: Capture) -> None:
    place.create()
    capsys.readouterr()
    assert main(["delta", "show", place.file, "--format", "json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["model"] == "base"
    assert shown["fingerprint"] == LocalFolder(place.base).fingerprint()
    assert shown["tensors"] == len(place.plan.slices) + len(place.plan.whole)
    weights = sum(item.numel() for item in place.model.parameters())
    assert shown["values"]["model"] == weights
    assert shown["values"]["stored"] == place.plan.changeable(place.model)
    size = Path(place.file).stat().st_size
    assert shown["file"] == {"bytes": size, "share_of_model": size / (4 * weights)}
    assert [row["layer"] for row in shown["layers"]] == [0, 1, 2]
    for row in shown["layers"]:
        for kind in ("gate", "up", "down"):
            path = f"mlp.{kind}_proj.weight"
            planned = place.plan.by_name[f"model.layers.{row['layer']}.{path}"]
            part = "columns" if kind == "down" else "rows"
            expected = {"part": part, "axis": part, "changed": planned.index.numel(), "of": 56}
            assert row["tensors"][path] == expected
    assert set(shown["others"]) == {
        "model.embed_tokens.weight",
        "model.norm.weight",
        "lm_head.weight",
    }


def test_show_as_text(place: Place, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    place.create()
    capsys.readouterr()
    assert main(["delta", "show", place.file]) == 0
    said = capsys.readouterr().out
    lines = said.splitlines()
    base = Delta.load(Path(place.file)).base
    assert lines[0] == f"base  revision {base.revision}  fingerprint {base.fingerprint}"
    assert lines[1].startswith(f"{len(place.plan.slices) + len(place.plan.whole)} tensors, ")
    assert f" of {base.values} values changed (" in lines[1]
    assert lines[2].startswith(f"{Path(place.file).stat().st_size} bytes, ")
    (header,) = [line.split() for line in lines if "down_proj" in line]
    (row,) = [line.split() for line in lines if line.split()[:1] == ["1"]]
    cells = dict(zip(header, row, strict=True))
    down = place.plan.by_name["model.layers.1.mlp.down_proj.weight"].index.numel()
    assert cells["down_proj"] == f"{down}c"
    assert cells["up_proj"] == f"{down}r"
    assert cells["input_layernorm"] == "all"
    assert "model.embed_tokens.weight: 64 of 64 rows" in lines
    assert "model.norm.weight: 40 of 40 entries" in lines


def test_shares_are_shown_in_percent_of_the_whole_model(tmp_path: Path, capsys: Capture) -> None:
    """One float32 of 80 changed, and the delta holds more than that one."""
    path = tmp_path / "delta.safetensors"
    Pair(w=changed_at((1, 2), (10, 8))).delta().save(path)
    assert main(["delta", "show", str(path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "1 tensors, 1 of 80 values changed (1.25 %)"
    size = path.stat().st_size
    assert lines[2] == f"{size} bytes, {size / 3.2:.3g} % of the model"


def test_a_tensor_that_is_held_whole_is_called_all_only_if_all_of_it_changed(
    tmp_path: Path, capsys: Capture
) -> None:
    path = tmp_path / "delta.safetensors"
    names = ("m.layers.0.norm.weight", "m.layers.1.mlp.up_proj.weight")
    pair = Pair(**dict(zip(names, (changed_at([0], (5,)), changed_at(([0, 3],))), strict=True)))
    pair.delta(TrainingPlan((), names, ())).save(path)
    assert main(["delta", "show", str(path)]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[-3:] == [["layer", "norm", "up_proj"], ["0", "1e", "-"], ["1", "-", "2r"]]


def test_a_name_does_not_speak_to_the_terminal(place: Place, capsys: Capture) -> None:
    place.base = str(Path(place.base).rename(place.root / "ba\x1b]0;title\x07se"))
    place.create()
    capsys.readouterr()
    assert main(["delta", "show", place.file]) == 0
    said = capsys.readouterr().out
    assert said.startswith("ba]0;titlese  revision ")
    assert not set("\x1b\x07") & set(said)


def test_headings_are_whole_on_a_narrow_terminal(
    place: Place, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = {}
    place.create()
    for width in (160, 80, 40):
        monkeypatch.setenv("COLUMNS", str(width))
        capsys.readouterr()
        assert main(["delta", "show", place.file]) == 0
        lines = capsys.readouterr().out.splitlines()
        headings = [line.split() for line in lines if line.split()[:1] == ["layer"]]
        rows = [line.split() for line in lines if line.split()[:1] == ["1"]]
        assert max(map(len, lines[4:])) <= width
        shown[width] = dict(zip(chain(*headings), chain(*rows), strict=True))
        assert (len(headings) == 1) == (width == 160)
    assert "post_attention_layernorm" in shown[80]
    assert shown[160] == shown[80] == shown[40]


def test_nothing_is_overwritten(place: Place, capsys: Capture) -> None:
    place.create()
    assert "exists already" in place.refused(capsys, "create", place.base, place.tuned, place.file)
    for arguments in (["apply", place.file, place.base], ["revert", place.file, place.tuned]):
        assert "exists already" in place.refused(capsys, *arguments, place.tuned)


def test_wrong_weights_are_refused(place: Place, capsys: Capture) -> None:
    place.create()
    line = place.refused(capsys, "apply", place.file, place.tuned, place.out)
    assert line.startswith("This delta is already applied")
    line = place.refused(capsys, "revert", place.file, place.base, place.out)
    assert line.startswith("This delta is already reverted")
    tiny_model("llama_gqa", seed=9).save_pretrained(place.root / "other")
    line = place.refused(capsys, "apply", place.file, str(place.root / "other"), place.out)
    assert line.startswith("This delta was made for base, revision ")
    assert line.endswith("Nothing was written.")


def test_a_damaged_delta_is_refused(place: Place, capsys: Capture) -> None:
    place.create()
    with Path(place.file).open("r+b") as stream:
        stream.seek(-1, 2)
        stream.write(b"X")
    for arguments in (["show"], ["apply"], ["revert"]):
        rest = [] if arguments == ["show"] else [place.base, place.out]
        assert "is damaged" in place.refused(capsys, *arguments, place.file, *rest)


def test_folders_that_give_no_delta(place: Place, capsys: Capture) -> None:
    nowhere = str(place.root / "nowhere")
    for pair in ((nowhere, place.tuned), (place.base, nowhere)):
        assert "nowhere" in place.refused(capsys, "create", *pair, place.file)
    line = place.refused(capsys, "create", place.base, place.base, place.file)
    assert line.startswith("Nothing changed")
    tiny_model("qwen3").save_pretrained(place.root / "other")
    line = place.refused(capsys, "create", place.base, str(place.root / "other"), place.file)
    assert "differ" in line


@pytest.mark.parametrize("arguments", [[], ["apply", "x"], ["show", "x", "--format", "y"]])
def test_wrong_usage_is_code_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["delta", *arguments])
    assert stopped.value.code == 2
