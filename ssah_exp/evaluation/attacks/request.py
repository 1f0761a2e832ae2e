"""What an attack gets: one request."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from ssah_exp.data.sources import Example


@dataclass(frozen=True)
class Request:
    """One request under attack.

    Attributes:
        prompt: What the data set asks for; judges see this.
        style: Prompt style it is put in.
        system: The system message that belongs to the request; it replaces the run's own.
    """

    prompt: str
    style: str
    system: str | None = None

    def put(self, text: str) -> Example:
        """The request with ``text`` as the user's turn."""
        return Example(text, system=self.system)

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values; a system message only where there is one.

        The values decide random streams and cache keys, which must not change for requests without
        a system message.
        """
        content = asdict(self)
        if self.system is None:
            del content["system"]
        return content
