"""Loading the tokenizer alone, with the tokens at which the model's own files end an answer."""

from __future__ import annotations

import warnings
from contextlib import suppress
from pathlib import Path

from ssah_exp.config.schema import ModelConfig
from ssah_exp.errors import ModelError, SsahWarning
from ssah_exp.models.hf_config import load_config, said
from ssah_exp.models.tokenizer import Speech, check_tokenizer


def load_speech(location: str, config: ModelConfig, revision: str | None = None) -> Speech:
    """Load and check the tokenizer alone, in a second or so.

    A chat template in the config takes the place of its own.

    Raises:
        ModelError: It cannot be found or read, or fails :func:`check_tokenizer`.
    """
    from transformers import AutoTokenizer

    try:
        _run_own_config(location, config, revision)
        tokenizer = AutoTokenizer.from_pretrained(
            location, revision=revision, trust_remote_code=config.trust_remote_code
        )
    except Exception as error:  # damaged files, and a model's own code, may fail in any way
        raise ModelError(f"No tokenizer could be loaded from {location}: {said(error)}") from error
    if config.chat_template is not None:
        tokenizer.chat_template = config.chat_template
    stops = _own_stops(location, config, revision)
    return check_tokenizer(tokenizer, config.end_of_turn, config.pad_token, stops)


def _run_own_config(location: str, config: ModelConfig, revision: str | None) -> None:
    """Raise what a model's own code raises where it makes the config.

    transformers before 5.4 keeps that to itself and picks the tokenizer without the config.
    """
    from transformers import AutoConfig

    if config.trust_remote_code:
        with suppress(OSError, ValueError):  # no config, or none that transformers knows
            AutoConfig.from_pretrained(
                location, revision=revision, trust_remote_code=config.trust_remote_code
            )


def _own_stops(location: str, config: ModelConfig, revision: str | None) -> set[int]:
    """Ids that end an answer by the model's own generation config.

    Chat models often name more ids there than their tokenizer does: Llama 3 and Qwen2.5 also name
    the end of text, with which they end their answer to a prompt that is no chat. After it they
    would begin some other text.

    A model without a generation config gets the one that transformers makes from its config, and
    writes beside saved weights: models trained from it would otherwise end answers elsewhere.

    Raises:
        ModelError: There is a generation config that cannot be read.
    """
    from transformers import GenerationConfig
    from transformers.utils import GENERATION_CONFIG_NAME

    try:
        own = GenerationConfig.from_pretrained(location, revision=revision or "main")
    except OSError as error:  # it is absent or damaged
        if (Path(location) / GENERATION_CONFIG_NAME).is_file():
            raise ModelError(f"{error} It decides where answers end.") from error
        _doubt_absence(location, revision)
        try:
            own = GenerationConfig.from_model_config(load_config(location, config, revision))
        except ModelError:  # the folder holds a tokenizer alone
            return set()
    found = own.eos_token_id
    return set(found) if isinstance(found, list) else {found} - {None}


def _doubt_absence(location: str, revision: str | None) -> None:
    """Warn if a hub repository may have a generation config that could not be asked for.

    The hub's client notes what a repository lacks; without that note, asking may have failed.
    """
    from huggingface_hub import try_to_load_from_cache
    from transformers.utils import GENERATION_CONFIG_NAME

    if Path(location).is_dir():
        return
    if try_to_load_from_cache(location, GENERATION_CONFIG_NAME, revision=revision) is None:
        warnings.warn(
            f"Whether {location} has a {GENERATION_CONFIG_NAME} is not known here: the hub's cache "
            "has none, and the hub was not reached. Answers end where the model's config says.",
            SsahWarning,
            stacklevel=2,
        )
