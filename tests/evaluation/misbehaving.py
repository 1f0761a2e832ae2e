"""A real HTTP server on loopback, an LLM judge or attacker that can fail in every way."""

from __future__ import annotations

import json
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Act = Callable[["Handler"], None]


def asked_about(content: str) -> str:
    """The answer a judge is asked about, the request an attacker is to reword, or plain text."""
    try:
        material = json.loads(content)
    except ValueError:
        return content
    return str(material["answer"] if "answer" in material else material["request"])


class Handler(BaseHTTPRequestHandler):
    """One question; what is done with it stands in the server's script."""

    protocol_version = "HTTP/1.1"
    server: Endpoint

    def do_POST(self) -> None:
        self.body: dict[str, Any] = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.act(asked_about(self.body["messages"][1]["content"]), self)(self)

    def log_message(self, *_: object) -> None:
        pass

    def send(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)


class Endpoint(ThreadingHTTPServer):
    """Counts questions by the answer they ask about.

    Attributes:
        script: Answer -> what to do, first time, second time, ...; the last one stays.
        asked: Answer -> how often it was asked about.
        times: When requests came.
        seen: Every request: path, authorization, body.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.script: dict[str, list[Act]] = {}
        self.otherwise: Act = says('{"score": 1}')
        self.asked: Counter[str] = Counter()
        self.times: list[float] = []
        self.seen: list[tuple[str, str | None, dict[str, Any]]] = []
        self.at_once = self.most_at_once = 0
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def act(self, answer: str, handler: Handler) -> Act:
        with self._lock:
            self.times.append(time.monotonic())
            self.seen.append((handler.path, handler.headers["authorization"], handler.body))
            self.asked[answer] += 1
            acts = self.script.get(answer)
            if not acts:
                return self.otherwise
            return acts.pop(0) if len(acts) > 1 else acts[0]


@contextmanager
def endpoint() -> Iterator[Endpoint]:
    server = Endpoint()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def completion(text: Any, **message: Any) -> bytes:
    reply = {"model": "judge-1", "choices": [{"message": {"content": text, **message}}]}
    return json.dumps(reply).encode()


def in_parts(*texts: str) -> list[dict[str, str]]:
    """Text as some endpoints send it, a thought before it."""
    thought = {"type": "thinking", "thinking": "a 5?"}
    return [thought, *({"type": "text", "text": text} for text in texts)]


def says(text: Any, **message: Any) -> Act:
    return lambda handler: handler.send(200, completion(text, **message))


def status(code: int, body: bytes = b"no", **headers: str) -> Act:
    return lambda handler: handler.send(code, body, **headers)


def refuses(http: int, **error: Any) -> Act:
    """As endpoints say what is wrong with a question."""
    return status(http, json.dumps({"error": error}).encode())


def raw(body: bytes) -> Act:
    return lambda handler: handler.send(200, body, Content_Type="application/json")


def slow(seconds: float) -> Act:
    def act(handler: Handler) -> None:
        time.sleep(seconds)
        handler.close_connection = True

    return act


def trickle(handler: Handler) -> None:
    """A byte now and then: no single wait is long, the whole is."""
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    for _ in range(40):
        try:
            handler.wfile.write(b" ")
            handler.wfile.flush()
        except OSError:
            break
        time.sleep(0.05)
    handler.close_connection = True


def drip_headers(handler: Handler) -> None:
    """A reply whose headers do not end, a byte now and then."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    for _ in range(40):
        try:
            handler.wfile.write(b"a")
            handler.wfile.flush()
        except OSError:
            break
        time.sleep(0.05)
    handler.close_connection = True


def cut(handler: Handler) -> None:
    """Half a reply, then a reset."""
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"choices": [')
    handler.wfile.flush()
    linger = struct.pack("ii", 1, 0)
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    handler.connection.close()
    handler.close_connection = True


def hang_up(handler: Handler) -> None:
    """Not a byte of reply."""
    handler.connection.shutdown(socket.SHUT_RDWR)
    handler.close_connection = True


def echo_key(handler: Handler) -> None:
    """The key in the words, in the model's name and in a header."""
    key = str(handler.headers["authorization"])
    reply = {"model": key, "choices": [{"message": {"content": f'{key} {{"score": 2}}'}}]}
    handler.send(200, json.dumps(reply).encode(), X_Echo=key)
