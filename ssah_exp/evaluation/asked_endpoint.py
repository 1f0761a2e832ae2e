"""An OpenAI-compatible chat endpoint: its settings, its budget, and why a question may fail.

This module needs no HTTP library; the client that sends questions does.
"""

from __future__ import annotations

import os
import re
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ssah_exp import ranks
from ssah_exp.appended import AppendedLines
from ssah_exp.config.ranges import above, at_least, refuse
from ssah_exp.errors import ConfigError, printable

if TYPE_CHECKING:
    from ssah_exp.evaluation.chat_client import ChatClient


# A config may come from somebody else: it may not have other secrets of the environment sent.
_KEY_VARIABLE = re.compile(r"[A-Za-z0-9_]*_API_KEY")
_told: set[tuple[str, str]] = set()  # URL and variable of each key that was sent from here


class PassingError(Exception):
    """A failure that another try may not meet.

    Attributes:
        retry_after: Seconds that the endpoint asks to wait; 0 = it does not say.
    """

    def __init__(self, reason: str, retry_after: float = 0.0) -> None:
        super().__init__(reason)
        self.retry_after = retry_after


class DeclinedError(Exception):
    """The endpoint declines this one question.

    Attributes:
        filtered: The endpoint says that its content filter stopped the question.
        forbidden: It answered 403 and named no filter: the question was filtered all the same, or
            the key lacks rights.
    """

    def __init__(self, reason: str, *, filtered: bool = False, forbidden: bool = False) -> None:
        super().__init__(reason)
        self.filtered, self.forbidden = filtered, forbidden

    def of_content(self, answered: bool) -> bool:
        """Whether the question's content is the reason, so that others may well be answered.

        A 403 may be about the key, which can be revoked at any time. An endpoint that names no
        filter and has ``answered`` nothing so far may decline whatever it is asked, for a wrong
        option or a key without rights.
        """
        return not self.forbidden and (self.filtered or answered)


class OverBudgetError(Exception):
    """No request may be sent any more."""


class Budget:
    """Counts requests over threads, calls, and all processes that count in the same file.

    Args:
        allowed: Most requests; None = no limit, and nothing is counted in the file.
        spent: File with one line per request; None = only this object's requests count. A request
            that another process sends at the same moment is missed.
    """

    def __init__(self, allowed: int | None, spent: AppendedLines | None = None) -> None:
        self._allowed, self._lock = allowed, threading.Lock()
        self._spent, self._sent = None if allowed is None else spent, 0

    def take(self) -> None:
        """Count one request before it is sent, so that it counts even if the process dies then.

        Raises:
            OverBudgetError: All are spent.
            StoreError: The disk is full or not writable.
        """
        with self._lock:
            if self._spent is not None:
                self._sent += sum(1 for _ in self._spent.news())
            if self._allowed is not None and self._sent >= self._allowed:
                raise OverBudgetError(f"budget of {self._allowed} requests spent")
            if self._spent is None:
                self._sent += 1
            else:
                self._spent.append({"request": self._sent + 1})  # the next call reads and counts it


@dataclass(kw_only=True)
class Endpoint:
    """Who is asked, and with what patience.

    Attributes:
        base_url: The API's root, e.g. ``https://host/v1``.
        model: As the endpoint names it.
        api_key_env: Environment variable that holds the key, ``..._API_KEY``; None = the endpoint
            needs none.
        options: Further fields of the request. Some models use another name for ``max_tokens``, or
            accept no temperature.
        timeout: Seconds for one request.
        attempts: Most requests per question.
        backoff: Longest first wait in seconds; it doubles with each attempt, and waits are random.
        max_wait: Longest wait between two attempts in seconds; a longer ``Retry-After`` ends them.
        max_requests: Most requests to send, counting retries and those that earlier processes with
            the same root and settings sent under a limit; None = no limit.
    """

    base_url: str
    model: str
    api_key_env: str | None = None
    options: dict[str, Any] = field(default_factory=lambda: {"temperature": 0, "max_tokens": 512})
    timeout: float = 60.0
    attempts: int = 5
    backoff: float = 1.0
    max_wait: float = 60.0
    max_requests: int | None = None

    def refuse_useless(self, who: str, **least: float) -> None:
        """Refuse settings that cannot work, all at once.

        Args:
            who: What errors call the endpoint's user.
            least: Lower bounds of further fields, by name.

        Raises:
            ConfigError: A malformed URL or one that would send a key in the clear, no model, no
                key or one in a variable that is not for keys, a number below its bound, or no HTTP
                library.
        """
        refuse(f"{who}: {text}" for text in self._problems(least))

    def _problems(self, least: Mapping[str, float]) -> Iterator[str]:
        yield from _url_problems(self.base_url)
        if not self.model:
            yield "model is empty."
        if self.api_key_env is not None:
            yield from self._key_problems(self.api_key_env)
        if find_spec("httpx") is None or find_spec("tenacity") is None:
            yield "pip install 'ssah-exp[judges]' first."
        lows = {"attempts": 1, "backoff": 0, "max_wait": 0, "max_requests": 0, **least}
        for name, low in lows.items():
            yield from at_least(name, getattr(self, name), low)
        yield from above("timeout", self.timeout, 0)

    def _key_problems(self, variable: str) -> Iterator[str]:
        if not _KEY_VARIABLE.fullmatch(variable):
            yield (
                f"api_key_env={variable} is not the name of a key's variable, which ends in "
                "_API_KEY; put the key into one that does and name that."
            )
        elif not os.environ.get(variable):
            yield (
                f"the environment variable {variable} is not set; set it, or give "
                "api_key_env=null if no key is needed."
            )
        if _is_read_on_its_way(self.base_url):
            yield (
                f"base_url={self.base_url} would have the key in {variable} sent in the clear; "
                "give an https:// URL, or api_key_env=null if no key is needed."
            )

    def asked(self) -> dict[str, Any]:
        """The settings that decide a reply."""
        return {
            "kind": "endpoint",
            "base_url": self.base_url.rstrip("/"),
            "model": self.model,
            "options": self.options,
        }

    def client(self, budget: Budget, who: str) -> ChatClient:
        """A client that sends no more than the budget allows; the caller closes it.

        Args:
            budget: Spent by every request.
            who: What errors call the endpoint's user.

        Raises:
            ConfigError: The key's variable is empty or holds characters that cannot be sent.
        """
        from ssah_exp.evaluation.chat_client import ChatClient, Patience

        patience = Patience(self.timeout, self.attempts, self.backoff, self.max_wait)
        key = self._key(who)
        self._tell(who)
        return ChatClient(self.base_url, key, patience, budget)

    def _tell(self, who: str) -> None:
        """Say once who is sent a key: config files come from other people, too."""
        if self.api_key_env is None or (self.base_url, self.api_key_env) in _told:
            return
        _told.add((self.base_url, self.api_key_env))
        if ranks.first():
            line = f"{who}: {self.base_url} is asked with the key in {self.api_key_env}."
            print(printable(line), file=sys.stderr, flush=True)

    def _key(self, who: str) -> str | None:
        if self.api_key_env is None:
            return None
        key = os.environ.get(self.api_key_env, "").strip()
        # An HTTP library would name the whole header, key and all, in its complaint.
        if not key or not key.isascii() or not key.isprintable() or " " in key:
            raise ConfigError(f"{who}: {self.api_key_env} holds no usable key.")
        return key


def _url_problems(url: str) -> list[str]:
    if not url:
        return ["base_url is empty."]
    try:
        parts = urlsplit(url)
        _ = parts.port  # only looked at when it is read
    except ValueError:
        return ["base_url is no URL."]
    if parts.scheme not in ("http", "https") or not parts.hostname:
        # Without a scheme, credentials are no part that could be told; then nothing is repeated.
        shown = "" if set(url) & set("@?#") else f"={url}"
        return [f"base_url{shown} does not begin with http:// or https:// and a host."]
    if "@" in parts.netloc or parts.query or parts.fragment:
        # URLs stand in records and cache keys, where a key has no place; nor is this one repeated.
        return ["base_url carries credentials or a query; name the key's variable in api_key_env."]
    return []


def _is_read_on_its_way(url: str) -> bool:
    """Whether others on the network could read what is sent: plain HTTP to another machine."""
    if _url_problems(url):
        return False  # refused anyway, and not repeated
    parts = urlsplit(url)
    try:
        here = ip_address(str(parts.hostname)).is_loopback
    except ValueError:
        here = parts.hostname == "localhost"
    return parts.scheme == "http" and not here
