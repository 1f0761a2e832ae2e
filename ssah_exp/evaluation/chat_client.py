"""One question to an OpenAI-compatible endpoint, through whatever may go wrong on the way.

Needs the extra ``judges`` (httpx, tenacity).
"""

from __future__ import annotations

import json
import math
import re
import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future
from concurrent.futures import wait as wait_for
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx
import tenacity

from ssah_exp.errors import JudgeError
from ssah_exp.evaluation.asked_endpoint import Budget, DeclinedError, PassingError

# What no other question would change: key, credit, address, method. 403 is not among them, because
# some endpoints give it for single requests that their own filter stops.
_FATAL = (401, 402, 404, 405)
_PASSING = (408, 409, 425, 429)
_LARGEST_REPLY = 1 << 20
# Seconds in which replies under way may still arrive after a stop, for they are paid for; whoever
# pressed Ctrl+C does not wait for a whole timeout.
_GRACE = 5.0
_LOOK = 0.1  # seconds between checks for a stop
# Codes that endpoints give to a question stopped by their own filter.
_FILTER = re.compile(
    "content_?filter|content_?policy|responsible_?ai|moderation|flagged|data_inspection", re.I
)


@dataclass(frozen=True)
class Patience:
    """How long to wait for what.

    Attributes:
        timeout: Seconds for one request, from sending it to the reply's last byte.
        attempts: Requests per question.
        backoff: Seconds; the n-th wait is drawn evenly from 0 to ``backoff * 2**(n - 1)``, and is
            no shorter than a ``Retry-After`` asks for.
        max_wait: Longest wait; a ``Retry-After`` beyond it ends the attempts.
    """

    timeout: float
    attempts: int
    backoff: float
    max_wait: float


class ChatClient:
    """Asks one endpoint, from several threads at once.

    Args:
        base_url: The API's root, e.g. ``https://host/v1``.
        key: Sent as bearer token and kept in memory only. Errors never show it; replies come as
            they are, so their text is to be passed through :meth:`redact`.
        patience: Timeouts and retries.
        budget: Spent by every request, retries included.
    """

    def __init__(self, base_url: str, key: str | None, patience: Patience, budget: Budget) -> None:
        self._url = f"{base_url.rstrip('/')}/chat/completions"
        self._key, self._patience, self._budget = key, patience, budget
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._http = httpx.Client(headers=headers, timeout=patience.timeout)
        self._stop = threading.Event()
        self._hold_until, self._give_up = 0.0, math.inf

    def close(self) -> None:
        """Close connections."""
        self._http.close()

    def stop(self) -> None:
        """End all waiting; questions under way fail unless their replies come within seconds."""
        self._give_up = time.monotonic() + _GRACE
        self._stop.set()

    def ask(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Send one question until it is answered or patience ends.

        Returns:
            The endpoint's JSON object; it has a ``choices`` list with a ``message``, whose
            ``content`` is text or None.

        Raises:
            PassingError: The last attempt failed, the endpoint asks for too long a wait, or the
                client was stopped.
            DeclinedError: The endpoint declines this question.
            OverBudgetError: The budget is spent.
            JudgeError: The endpoint takes no question at all.
            StoreError: The file that counts requests cannot be written.
        """
        retrying = tenacity.Retrying(
            stop=tenacity.stop_after_attempt(self._patience.attempts),
            wait=tenacity.wait_random_exponential(self._patience.backoff, self._patience.max_wait),
            retry=tenacity.retry_if_exception(self._worth_another),
            sleep=tenacity.sleep_using_event(self._stop),
            reraise=True,
        )
        return retrying(self._send, body)

    def redact(self, text: str) -> str:
        """Replace the key by ``[key]``: an endpoint may echo what it was sent."""
        return text.replace(self._key, "[key]") if self._key else text

    def _worth_another(self, error: BaseException) -> bool:
        if self._stop.is_set() or not isinstance(error, PassingError):
            return False
        return error.retry_after <= self._patience.max_wait

    def _send(self, body: Mapping[str, Any]) -> dict[str, Any]:
        # A wait that the endpoint asked of one thread holds for all of them.
        self._stop.wait(max(0.0, self._hold_until - time.monotonic()))
        if self._stop.is_set():
            raise PassingError("stopped")
        self._budget.take()
        try:
            came = self._in_time(body)
        except httpx.TimeoutException as error:
            raise PassingError("timeout") from error
        except httpx.RequestError as error:  # bytes that are not of the encoding named, too
            raise PassingError(f"connection: {type(error).__name__}") from error
        if came.status != 200:
            raise self._refusal(came)
        return _reply(came.text)

    def _in_time(self, body: Mapping[str, Any]) -> _Came:
        """The reply, if it comes in time; httpx's own timeout starts anew with every byte.

        The request runs in a thread, because only a thread can be abandoned wherever it hangs, be
        it in a name look-up or in headers. It ends when the client's connections are closed.
        """
        deadline = time.monotonic() + self._patience.timeout
        coming: Future[_Came] = Future()

        def fetch() -> None:
            try:
                coming.set_result(self._fetch(body, deadline))
            except Exception as error:
                coming.set_exception(error)

        threading.Thread(target=fetch, daemon=True).start()
        while (left := min(deadline, self._give_up) - time.monotonic()) > 0:
            if wait_for([coming], min(left, _LOOK)).done:
                return coming.result()
        raise PassingError("stopped" if self._stop.is_set() else "timeout")

    def _fetch(self, body: Mapping[str, Any], deadline: float) -> _Came:
        with self._http.stream("POST", self._url, json=dict(body)) as response:
            parts: list[bytes] = []
            for part in response.iter_bytes():
                parts.append(part)
                if time.monotonic() > deadline:
                    raise PassingError("timeout")
                if sum(map(len, parts)) > _LARGEST_REPLY:
                    raise PassingError("endless reply")
        text = b"".join(parts).decode("utf-8", errors="replace")
        return _Came(response.status_code, response.headers.get("retry-after"), text)

    def _refusal(self, came: _Came) -> Exception:
        status = came.status
        if status in _PASSING or status >= 500:
            wait = retry_after(came.retry_after)
            if 0 < wait <= self._patience.max_wait:
                self._hold_until = max(self._hold_until, time.monotonic() + wait)
            return PassingError(f"http {status}", wait)
        if status in _FATAL or status < 400:
            said = self.redact(" ".join(came.text.split()))[:200]
            return JudgeError(f"{self._url} answers with http {status}: {said}")
        if _names_a_filter(came.text):
            return DeclinedError(f"http {status}: the endpoint's content filter", filtered=True)
        return DeclinedError(f"http {status}", forbidden=status == 403)


@dataclass(frozen=True)
class _Came:
    """What an endpoint sent back."""

    status: int
    retry_after: str | None
    text: str


def _names_a_filter(text: str) -> bool:
    """Whether an error's codes name a filter; its prose may echo the question and is not read."""
    try:
        error = json.loads(text)["error"]
        inner = (error.get("innererror") or {}).get("code")
        codes = [error.get("code"), error.get("type"), inner, *(error.get("metadata") or {})]
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError):
        return False
    return any(isinstance(code, str) and _FILTER.search(code) for code in codes)


def _reply(text: str) -> dict[str, Any]:
    try:
        reply = json.loads(text)
        message = reply["choices"][0]["message"]
        message["content"] = _joined(message.get("content"))
    except (ValueError, RecursionError, LookupError, TypeError, AttributeError) as error:
        raise PassingError("no chat completion in the reply") from error
    assert isinstance(reply, dict)
    return reply


def _joined(content: Any) -> str | None:
    """A message's text, whole or in parts; parts of other types, such as thoughts, are none of it.

    Raises:
        ValueError: It is neither text nor parts with text among them; what it says is not known,
            which is not the same as its saying nothing.
    """
    if content is None or isinstance(content, str):
        return content
    texts = [part["text"] for part in content if part["type"] == "text"]
    if content and not texts:
        raise ValueError("no part of the reply is text")
    return "".join(texts)


def retry_after(header: str | None) -> float:
    """Seconds a ``Retry-After`` header asks for, in either form of RFC 9110; 0 if none."""
    if header is None:
        return 0.0
    try:
        seconds = float(header)
    except ValueError:
        try:
            when = parsedate_to_datetime(header).astimezone(UTC)
        except (ValueError, OverflowError):  # no date, or one at the edge of the calendar
            return 0.0
        seconds = (when - datetime.now(UTC)).total_seconds()
    return 0.0 if math.isnan(seconds) else max(0.0, seconds)
