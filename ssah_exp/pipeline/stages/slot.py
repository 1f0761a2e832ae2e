"""The one model in memory."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ssah_exp import ranks
from ssah_exp.config.schema import RunConfig
from ssah_exp.config.trainer import shards, uses_cuda
from ssah_exp.models.companion import Companion
from ssah_exp.models.load import LoadedModel, load_model
from ssah_exp.models.sharded import mesh_of_ranks, shard
from ssah_exp.models.sources import ModelRef
from ssah_exp.pipeline.garbage import collect_garbage
from ssah_exp.pipeline.progress import Reporter
from ssah_exp.training.certificate import check_certificate, has_certificate


class ModelSlot:
    """Holds at most one of the models under study in memory, loaded when first needed.

    Companions lie beside it while it answers. While it trains they do not: gradients, masters and
    the optimizer's states take several times the room that the model does.

    Under ``trainer.strategy=fsdp2`` a model is either split over the ranks, for forward passes, or
    whole in main memory, for a training that splits a twin of it.

    Args:
        config: The run's.
        reporter: Told what is loaded.
        companions: Models of judges and attackers, each loaded when it is first asked.
    """

    def __init__(
        self, config: RunConfig, reporter: Reporter, companions: Sequence[Companion] = ()
    ) -> None:
        self._config = config
        self._reporter = reporter
        self._companions = companions
        self._held: tuple[ModelRef, bool] | None = None
        self._loaded: LoadedModel | None = None

    def get(self, ref: ModelRef) -> LoadedModel:
        """The model of ``ref``, for forward passes; another one in the slot is dropped first."""
        return self._get(ref, split=self._splits())

    def to_train(self, ref: ModelRef) -> LoadedModel:
        """The model of ``ref``, for training: whole, on every rank, and without companions."""
        self._release_companions()
        return self._get(ref, split=False)

    def _splits(self) -> bool:
        """Whether models are split over the ranks; while rank 0 works alone it needs them whole."""
        return shards(self._config.trainer) and ranks.count() > 1

    def _get(self, ref: ModelRef, *, split: bool) -> LoadedModel:
        other = self._loaded is None or self._held != (ref, split)
        if any(ranks.everyones(other)) or self._loaded is None:  # ranks can only split together
            if self._loaded is not None:
                self.clear()
            self._reporter.begin(f"loading {ref.identifier}")
            loaded = load_model(
                ref.location,
                self._config.model,
                ref.commit,
                on_host=self._splits(),
            )
            folder = ref.folder()
            if has_certificate(folder):
                check_certificate(loaded.model, folder)
            if split:
                shard(loaded.model, mesh_of_ranks(uses_cuda(self._config.trainer)))
            self._loaded, self._held = loaded, (ref, split)
        return self._loaded

    def vacate(self) -> None:
        """Free the memory of everything loaded, companions too; each is loaded again when asked."""
        self._release_companions()
        self.clear()

    def _release_companions(self) -> None:
        for companion in self._companions:
            companion.release()

    def clear(self) -> None:
        """Forget the model, because it was changed or another is needed."""
        self._loaded = None
        # Lightning's objects hold each other, the model and its optimizer's states in circles;
        # uncollected, they would lie in memory beside the next model.
        collect_garbage()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
