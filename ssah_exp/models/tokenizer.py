"""Tokenizers are checked before use: a wrong pad or end-of-turn token spoils results silently."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ssah_exp.digest import digest_of
from ssah_exp.errors import ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Speech:
    """A tokenizer with its special tokens resolved.

    Attributes:
        tokenizer: The transformers tokenizer; its pad token is set.
        end_of_turn: Id of the token that closes an assistant turn.
        stop_ids: Ids that end generation: the end of turn and the tokenizer's eos.
        pad_id: Id used for padding.
    """

    tokenizer: PreTrainedTokenizerBase
    end_of_turn: int
    stop_ids: tuple[int, ...]
    pad_id: int

    @property
    def template_hash(self) -> str:
        """sha256 over the chat template and the special tokens."""
        return digest_of(
            {
                "template": str(self.tokenizer.chat_template),
                "stop": list(self.stop_ids),
                "pad": self.pad_id,
            }
        )


def check_tokenizer(
    tokenizer: PreTrainedTokenizerBase, end_of_turn: str, pad_token: str | None
) -> Speech:
    """Resolve special tokens, refusing to guess.

    Args:
        tokenizer: As loaded; its pad token is set in place if it has none.
        end_of_turn: Token text that closes a turn in its chat template.
        pad_token: Token text to pad with if the tokenizer names none.

    Raises:
        ModelError: A token is not in the vocabulary, or there is no pad token.
    """
    end_id = _token_id(tokenizer, end_of_turn, "model.end_of_turn")
    if tokenizer.pad_token_id is None:
        if pad_token is None:
            raise ModelError(
                "The tokenizer has no pad token. Set model.pad_token to a token of its "
                "vocabulary that never carries meaning (for many models, their eos token)."
            )
        _token_id(tokenizer, pad_token, "model.pad_token")
        tokenizer.pad_token = pad_token
    template = tokenizer.chat_template
    if isinstance(template, str) and not _template_ends_turn(tokenizer, end_of_turn):
        raise ModelError(
            f"model.end_of_turn={end_of_turn} does not close an assistant turn in this "
            "tokenizer's chat template."
        )
    stops = {end_id}
    if tokenizer.eos_token_id is not None:
        stops.add(int(tokenizer.eos_token_id))
    return Speech(tokenizer, end_id, tuple(sorted(stops)), int(tokenizer.pad_token_id))


def _token_id(tokenizer: PreTrainedTokenizerBase, token: str, key: str) -> int:
    if token not in tokenizer.get_vocab():
        raise ModelError(f"{key}={token} is not a token of this tokenizer's vocabulary.")
    return int(tokenizer.get_vocab()[token])


def _template_ends_turn(tokenizer: PreTrainedTokenizerBase, end_of_turn: str) -> bool:
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    text = str(tokenizer.apply_chat_template(turns, tokenize=False))
    return text.rstrip().endswith(end_of_turn)
