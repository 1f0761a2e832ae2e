"""What a person sees while a run works: a line per stage, a bar with the time left."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from ssah_exp.cache import Entry
from ssah_exp.records.record import StageRecord
from ssah_exp.records.trackers.base import RunHead


class Follower(Protocol):
    """Something else that is told how a run goes."""

    def opened(self, head: RunHead) -> None:
        """The run's id is known."""

    def working(self) -> None:
        """Something is being computed."""

    def stage(self, stage: StageRecord) -> None:
        """A stage is done."""


class Reporter:
    """Prints stages and keeps them for the record.

    Args:
        console: Where to print.
        bars: Show progress bars.
        watch: Also told what is being done, often.

    Attributes:
        follower: Also told of the run and its stages.
    """

    def __init__(
        self, console: Console, *, bars: bool, watch: Callable[[str], None] = lambda text: None
    ) -> None:
        self.follower: Follower | None = None
        self.console = console
        self.bars = bars
        self.watch = watch
        self.stages: list[StageRecord] = []

    def opened(self, head: RunHead) -> None:
        """Announce the run."""
        if self.follower is not None:
            self.follower.opened(head)
        self.say(f"run [bold]{head.run_id}[/bold]  {head.artefact}  seed {head.seed}")

    def begin(self, text: str) -> None:
        """Announce work that is about to start."""
        self.watch(text)
        if self.follower is not None:
            self.follower.working()
        self.say(f"[dim]{escape(text)} ...[/dim]")

    def done(self, name: str, entry: Entry) -> None:
        """Report a stage's cache entry."""
        stage = StageRecord(name, entry.key, entry.cached, round(entry.seconds, 3), entry.cost())
        self.stages.append(stage)
        if self.follower is not None:
            self.follower.stage(stage)
        state = "[green]cached  [/green]" if entry.cached else "[cyan]computed[/cyan]"
        self.say(f"{state} {escape(f'{name:<28}')} {entry.seconds:7.1f} s  {entry.key}")

    def say(self, text: str) -> None:
        """Print a line with rich's markup; it is never wrapped, so a log file has it as one."""
        self.console.print(text, highlight=False, soft_wrap=True)

    @contextmanager
    def bar(self, text: str, total: int) -> Iterator[Callable[[int], None]]:
        """A progress bar with the time left; yields the function that advances it."""
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        with Progress(
            *columns, console=self.console, transient=True, disable=not self.bars
        ) as progress:
            task = progress.add_task(text, total=total)

            def advance(done: int) -> None:
                progress.advance(task, done)
                self.watch(f"{text} {progress.tasks[0].completed:g}/{total}")

            yield advance
