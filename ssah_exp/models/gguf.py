"""Converting a GGUF file to float32 safetensors, and the hash that names the result."""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from ssah_exp.digest import digest_of
from ssah_exp.errors import ModelError

# Increased whenever the conversion writes other files for the same GGUF.
_CONVERTER_VERSION = 1


def gguf_fingerprint(sha256: str) -> str:
    """Hash of what decides the converted weights: the file's own sha256 and the conversion."""
    return digest_of({"gguf": sha256, "converter": _CONVERTER_VERSION})


def convert_gguf(gguf: Path, folder: Path) -> None:
    """De-quantise a GGUF file to float32 safetensors with its tokenizer.

    Nothing that lies beside the file is looked at: an adapter there would be loaded, too, and the
    file's hash would name other weights. Unless stderr is a terminal, transformers' progress bars
    stay off from here on: in a log each of their steps is a line. (One of them is tqdm's own, which
    the command `ssah-exp` turns off.)

    Args:
        gguf: The file; its architecture must be one that transformers can read from GGUF.
        folder: Receives what ``from_pretrained`` needs.

    Raises:
        ModelError: It cannot be read.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    if not (sys.stderr and sys.stderr.isatty()):
        logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    with TemporaryDirectory() as alone:
        (Path(alone) / gguf.name).symlink_to(gguf.resolve())
        try:
            tokenizer = AutoTokenizer.from_pretrained(alone, gguf_file=gguf.name)
            quantised = AutoModelForCausalLM.from_pretrained(
                alone, gguf_file=gguf.name, dtype=torch.float32
            )
        except Exception as error:  # a damaged file may fail in any way
            raise ModelError(
                f"{gguf} cannot be read as a GGUF model ({type(error).__name__}): {error}"
            ) from error
    # The weights are plain float32 now, but the object remembers that they were quantised and
    # refuses to be saved: a fresh model takes them over.
    config = quantised.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    with torch.device("meta"):  # the weights that are there are taken, not copied
        make = AutoModelForCausalLM.from_config
        model = make(config, dtype=torch.float32)  # type: ignore[no-untyped-call]
    model.load_state_dict(quantised.state_dict(), assign=True)
    model.tie_weights()
    model.generation_config = quantised.generation_config
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
