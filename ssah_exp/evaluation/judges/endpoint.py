"""An LLM as judge, behind any OpenAI-compatible chat endpoint."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import closing
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssah_exp.appended import AppendedLines
from ssah_exp.errors import JudgeError
from ssah_exp.evaluation.asked_endpoint import (
    Budget,
    DeclinedError,
    Endpoint,
    OverBudgetError,
    PassingError,
)
from ssah_exp.evaluation.judges.base import Judgement, Scale, Verdict
from ssah_exp.evaluation.judges.harm import Answered, HarmJudge
from ssah_exp.evaluation.judges.rubrics import Rubric, UnusableReplyError

if TYPE_CHECKING:
    from ssah_exp.evaluation.chat_client import ChatClient

_KEPT_OF_A_REPLY = 4000


@dataclass(kw_only=True)
class EndpointJudge(Endpoint, HarmJudge):
    """Asks an endpoint about each answer, by a rubric.

    Replies that hold no judgement (the judge declines, no JSON, a score out of range) leave the
    answer unscored and are kept: asking again would cost as much and say the same. The same holds
    for questions that the endpoint's content filter stops, where the endpoint says so. A question
    that got no reply (a timeout, a spent budget), or was declined without that reason, is unscored
    too, but not kept: the next run asks again.

    Attributes:
        rubric: What to ask for.
        concurrency: Questions under way at once.
        max_failures: Questions in a row, over all calls, that fail before the endpoint counts as
            down; only an answered question ends the row. A declined question counts if none was
            answered before it, and always if declined by 403: a key may be spent or revoked at any
            time. What counts is marked as failed, even if the run goes on, except questions
            declined without 403 if the endpoint answers another one later in the same call.
    """

    rubric: Rubric
    concurrency: int = 4
    max_failures: int = 20
    _failures: int = field(init=False, repr=False, compare=False, default=0)
    _answered: bool = field(init=False, repr=False, compare=False, default=False)

    def __post_init__(self) -> None:
        """Refuse settings that cannot work, all at once."""
        self.refuse_useless(self.who, concurrency=1, max_failures=1)

    @property
    def scale(self) -> Scale:
        """The rubric's."""
        return self.rubric.SCALE

    def wording(self) -> str | None:
        """Hash of the rubric's text if a file gives it, else None."""
        return self.rubric.wording()

    def settings(self) -> dict[str, Any]:
        """Who is asked what."""
        return {**self.asked(), "rubric": self.rubric.describe()}

    def describe(self) -> dict[str, Any]:
        """Like every judge of harm's, plus the models that answered, as the endpoint names them."""
        return {**super().describe(), "served": sorted(self._memory.served)}

    def keep_in(self, root: Path) -> None:
        """Keep judgements in the cache below ``root``; a kept verdict shows that it can work."""
        super().keep_in(root)
        self._answered = self._memory.has_scores()

    @cached_property
    def _budget(self) -> Budget:
        path = self._memory.path
        spent = None if path is None else AppendedLines(path.with_suffix(".requests"))
        return Budget(self.max_requests, spent)

    def _ask(self, pairs: Sequence[Answered]) -> dict[Answered, Judgement]:
        with closing(self.client(self._budget, self.who)) as client:
            return self._ask_all(client, lambda pair: self._one(client, pair), pairs)

    def _ask_all(
        self, client: ChatClient, ask: Callable[[Answered], Judgement], pairs: Sequence[Answered]
    ) -> dict[Answered, Judgement]:
        found: dict[Answered, Judgement] = {}
        declined: dict[Answered, DeclinedError] = {}
        pool = ThreadPoolExecutor(self.concurrency)
        try:
            futures = {pool.submit(ask, pair): pair for pair in pairs}
            for future in as_completed(futures):
                pair = futures[future]
                try:
                    found[pair] = future.result()
                    self._answered, self._failures = True, 0
                except DeclinedError as error:
                    if error.filtered:  # kept at once, whatever comes of the others
                        found[pair] = self._settled(pair, error)
                        continue
                    declined[pair] = error
                    if not error.of_content(self._answered):
                        self._count_failure(error)
                except PassingError as error:
                    found[pair] = _failed(error)
                    self._count_failure(error)
                except OverBudgetError as error:
                    found[pair] = _failed(error)
        except BaseException:
            client.stop()
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
        # Only now is it known whether an endpoint that declined its first questions answers others.
        return found | {pair: self._settled(pair, error) for pair, error in declined.items()}

    def _count_failure(self, error: Exception) -> None:
        self._failures += 1
        if self._failures >= self.max_failures:
            raise JudgeError(
                f"{self.who}: {self._failures} questions in a row failed, the last "
                f"with: {error}. What was judged is kept; run the same command again to go on."
            )

    def _settled(self, pair: Answered, error: DeclinedError) -> Judgement:
        """The judgement on a declined question; it is kept where a filter is named."""
        if not error.of_content(self._answered):
            return _failed(error)
        judgement = Judgement(Verdict.UNSCORED, reason=str(error))
        if error.filtered:
            self._memory.add(*pair, judgement)
        return judgement

    def _one(self, client: ChatClient, pair: Answered) -> Judgement:
        """Ask about one answer; the judgement is kept at once."""
        messages = self.rubric.messages(*pair)
        reply = client.ask({"model": self.model, "messages": messages, **self.options})
        text, judgement = self._read(reply)
        said = client.redact(text)[:_KEPT_OF_A_REPLY]
        served = client.redact(str(reply.get("model") or ""))[:200]
        self._memory.add(*pair, judgement, reply=said, served=served)
        return judgement

    def _read(self, reply: dict[str, Any]) -> tuple[str, Judgement]:
        """The reply's words and the judgement in them."""
        message = reply["choices"][0]["message"]
        text = message["content"]
        if not text:
            declined = message.get("refusal")
            reason = "the judge declined" if declined else "empty reply"
            return str(declined or ""), Judgement(Verdict.UNSCORED, reason=reason)
        try:
            return text, self.rubric.read(text)
        except UnusableReplyError as error:
            return text, Judgement(Verdict.UNSCORED, reason=str(error))


def _failed(error: Exception) -> Judgement:
    return Judgement(Verdict.UNSCORED, reason=str(error), failed=True)
