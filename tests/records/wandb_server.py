"""A stand-in for the W&B server: as much of it as runs and artifacts need, in memory."""

from __future__ import annotations

import base64
import gzip
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any

Json = dict[str, Any]
KEY = "k" * 40
ENTITY = {"id": "e", "name": "lab", "internalId": "e"}


class Service:
    """What the server keeps.

    Attributes:
        runs: Run id -> name, group, tags, config, summary as last said.
        versions: Artifact name -> digests, in order: place 0 is version v0.
        aliases: ``(name, digest)`` -> its aliases.
        logged: ``(run id, name, digest)`` of artifacts a run made.
        used: ``(run id, name, digest)`` of artifacts a run used.
        files: Paths that were uploaded.
        history: Run id -> rows.
        events: Run id -> rows of system metrics.
        resumed: Run ids that were found when asked for.
    """

    def __init__(self) -> None:
        self.lock = Lock()
        self.url = ""
        self.runs: dict[str, Json] = {}
        self.versions: dict[str, list[str]] = {}
        self.aliases: dict[tuple[str, str], set[str]] = {}
        self.ids: dict[str, tuple[str, str]] = {}
        self.logged: set[tuple[str, str, str]] = set()
        self.used: set[tuple[str, str, str]] = set()
        self.files: set[str] = set()
        self.history: dict[str, list[Json]] = {}
        self.events: dict[str, list[Json]] = {}
        self.resumed: list[str] = []

    def answer(self, operation: str, given: Json) -> Json:
        """The ``data`` of a GraphQL answer; unknown operations get nothing."""
        name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", operation).lower()
        found = getattr(self, f"_{name}", None)
        return {} if found is None else found(given)

    def _viewer(self, given: Json) -> Json:
        return {
            "viewer": {"id": "u", "entity": "lab", "username": "lab", "email": "", "flags": "{}"}
        }

    def _run_resume_status(self, given: Json) -> Json:
        run = self.runs.get(given["name"])
        model = {"id": "p", "name": given["project"], "entity": ENTITY, "bucket": None}
        if run is None:
            return {"model": model}
        self.resumed.append(given["name"])
        rows = self.history.get(given["name"], [])
        events = self.events.get(given["name"], [])
        bucket = {
            "id": given["name"],
            "name": given["name"],
            "summaryMetrics": json.dumps(run["summary"]),
            "displayName": run["name"],
            "logLineCount": 0,
            "historyLineCount": len(rows),
            "eventsLineCount": len(events),
            "historyTail": json.dumps([json.dumps(row) for row in rows[-1:]]),
            "eventsTail": json.dumps([json.dumps(row) for row in events[-1:]]),
            "config": json.dumps(run["config"]),
            "tags": run["tags"],
            "notes": "",
            "wandbConfig": json.dumps({"t": 1}),
        }
        return {"model": {**model, "bucket": bucket}}

    def _upsert_bucket(self, given: Json) -> Json:
        name = given["name"]
        run = self.runs.setdefault(name, {"summary": {}, "config": {}, "tags": []})
        run["name"] = given.get("displayName") or run.get("name")
        run["group"] = given.get("groupName") or run.get("group")
        run["tags"] = given.get("tags") or run["tags"]
        if given.get("config"):
            run["config"] |= json.loads(given["config"])
        bucket = {
            "id": name,
            "name": name,
            "displayName": run["name"],
            "project": {"id": "p", "name": given["project"], "entity": ENTITY},
            "historyLineCount": len(self.history.get(name, [])),
        }
        return {"upsertBucket": {"bucket": bucket, "inserted": True}}

    def _create_run_files(self, given: Json) -> Json:
        files = [{"name": name, "uploadUrl": self._upload(name)} for name in given["files"]]
        return {"createRunFiles": {"runID": given["run"], "uploadHeaders": [], "files": files}}

    def _artifact_type(self, given: Json) -> Json:
        return {"project": {"artifact": None}}

    def _create_artifact(self, given: Json) -> Json:
        asked = given["input"]
        name, digest = asked["artifactCollectionName"], asked["digest"]
        known = self.versions.setdefault(name, [])
        state = "COMMITTED" if digest in known else "PENDING"
        if digest not in known:
            known.append(digest)
        given_aliases = {item["alias"] for item in asked.get("aliases") or []}
        self.aliases.setdefault((name, digest), set()).update(given_aliases)
        identifier = f"{name}@{digest}"
        self.ids[identifier] = (name, digest)
        self.logged.add((asked["runName"], name, digest))
        sequence = {"latestArtifact": {"id": identifier}}
        artifact = {"id": identifier, "state": state, "artifactSequence": sequence}
        return {"createArtifact": {"artifact": artifact}}

    def _artifact_by_id(self, given: Json) -> Json:
        name, digest = self.ids[given["id"]]
        project = {"id": "p", "internalId": "p", "name": "ssah-exp", "entity": ENTITY}
        return {
            "artifact": {
                "__typename": "Artifact",
                "id": given["id"],
                "artifactSequence": {
                    "__typename": "ArtifactSequence",
                    "id": name,
                    "name": name,
                    "project": project,
                },
                "versionIndex": self.versions[name].index(digest),
                "artifactType": {"name": "unitmap"},
                "description": None,
                "metadata": "{}",
                "ttlDurationSeconds": -2,
                "ttlIsInherited": True,
                "tags": [],
                "historyStep": None,
                "state": "COMMITTED",
                "size": 1,
                "digest": digest,
                "commitHash": None,
                "fileCount": 1,
                "createdAt": "2026-01-01T00:00:00Z",
                "updatedAt": None,
                "aliases": [],
            }
        }

    def _create_artifact_manifest(self, given: Json) -> Json:
        return {"createArtifactManifest": {"artifactManifest": self._manifest()}}

    def _update_artifact_manifest(self, given: Json) -> Json:
        return {"updateArtifactManifest": {"artifactManifest": self._manifest()}}

    def _create_artifact_files(self, given: Json) -> Json:
        edges = [
            {
                "node": {
                    "storagePath": item["name"],
                    "uploadUrl": self._upload(item["name"]),
                    "uploadHeaders": [],
                    "uploadMultipartUrls": None,
                    "artifact": {"id": item["artifactID"]},
                }
            }
            for item in given["input"]["artifactFiles"]
        ]
        return {"createArtifactFiles": {"files": {"edges": edges}}}

    def _commit_artifact(self, given: Json) -> Json:
        identifier = given["artifactID"]
        return {"commitArtifact": {"artifact": {"id": identifier, "digest": ""}}}

    def _use_artifact(self, given: Json) -> Json:
        asked = given.get("input", given)  # the service asks in one way, the library in another
        self.used.add((asked["runName"], *self.ids[asked["artifactID"]]))
        return {"useArtifact": {"artifact": {"id": asked["artifactID"]}}}

    def _manifest(self) -> Json:
        file = {"id": "f", "uploadUrl": self._upload("manifest"), "uploadHeaders": []}
        return {"id": "m", "file": file}

    def _upload(self, name: str) -> str:
        return f"{self.url}/upload/{name}"

    def stream(self, run: str, content: Json) -> None:
        """Rows of a run's history, summary and system metrics."""
        files = content.get("files") or {}
        for name, keep in (
            ("wandb-history.jsonl", self.history),
            ("wandb-events.jsonl", self.events),
        ):
            lines = files.get(name, {}).get("content", [])
            keep.setdefault(run, []).extend(json.loads(line) for line in lines)
        for line in files.get("wandb-summary.json", {}).get("content", []):
            self.runs[run]["summary"] = json.loads(line)
        if content.get("complete") is not None:
            self.runs[run]["exit"] = content.get("exitcode")


def _handler(service: Service) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            """Quiet."""

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            if "/otel/" in self.path:
                return self._say(200, {})
            sent = self.headers.get("Authorization", "").removeprefix("Basic ")
            if base64.b64decode(sent).decode().removeprefix("api:") != KEY:
                return self._say(401, {"errors": [{"message": "invalid api key"}]})
            with service.lock:
                if self.path == "/graphql":
                    asked = json.loads(body)
                    operation = re.match(r"\s*(?:query|mutation)\s+(\w+)", asked["query"])
                    name = operation.group(1) if operation else ""
                    data = service.answer(name, asked.get("variables") or {})
                    return self._say(200, {"data": data})
                if self.path.endswith("/file_stream"):
                    service.stream(self.path.split("/")[-2], json.loads(body))
                return self._say(200, {})

        def do_PUT(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            with service.lock:
                service.files.add(self.path.removeprefix("/upload/"))
            self._say(200, {})

        def do_GET(self) -> None:
            self._say(404, {})

        def _say(self, code: int, content: Json) -> None:
            text = json.dumps(content).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

    return Handler


class _Server(ThreadingHTTPServer):
    def handle_error(self, *_: Any) -> None:
        """A client that hangs up is none."""


@contextmanager
def serving() -> Iterator[Service]:
    """A server on a free port of this machine."""
    service = Service()
    server = _Server(("127.0.0.1", 0), _handler(service))
    service.url = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield service
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
