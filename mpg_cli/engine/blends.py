"""The blends of an engine: their experts and rows, loaded when first asked for, and messages about them."""

from __future__ import annotations

from collections import abc
from weakref import WeakValueDictionary

import torch

from mpg_cli.engine.blend_rows import BlendRows
from mpg_cli.engine.request import Request
from mpg_cli.models.experts import ExpertCache, find_drafter, find_experts
from mpg_cli.models.load.loader import LoadedModel
from mpg_cli.models.run.lora_bank import LoraBank
from mpg_cli.sampling.params import Scheme

Report = abc.Callable[[str], None]


class Blends:
    """Rows by blend, as long as a sequence has them; the last prepared one stays loaded."""

    def __init__(self, loaded: LoadedModel, cache: ExpertCache, report: Report) -> None:
        """`cache` holds loaded experts and drafting models; `report` gets progress messages."""
        self._loaded, self._cache, self._report = loaded, cache, report
        self._rows: WeakValueDictionary[abc.Hashable, BlendRows] = WeakValueDictionary()
        self._prepared: BlendRows | None = None
        self._notices = list(loaded.notices)  # for the user
        self._noticed: set[str] = set()  # those that were given

    def rows(self, request: Request, report: Report | None = None) -> BlendRows:
        """The rows of the blend of a request. Raises PersonaError, AdapterError, ModelError."""
        key, report = (request.blend, request.adapters, request.scheme), report or self._report
        found = self._rows.get(key)
        if found is None:
            experts = find_experts(
                request.blend, request.adapters, self._loaded, report, self._notices.append, self._cache
            )
            smaller = find_drafter(request.scheme, self._loaded, report, self._cache)
            found = BlendRows.of(self._loaded, experts, request.scheme, smaller)
            if self._loaded.dtype.value == torch.float16:  # whose range adapters may exceed
                bank = LoraBank.of(self._loaded.model)
                bank.retain(found.adapted)
                bank.release(found.adapted)
            self._rows[key] = found
            self._notices += (*(smaller.notices if smaller else ()), *found.notices)
        return found

    def prepare(self, request: Request, report: Report | None = None) -> None:
        """Load a blend and keep it until another one is prepared. Raises as `rows`."""
        self._prepared = self.rows(request, report)

    def prepare_drafter(self, scheme: Scheme) -> None:
        """Load the drafting model, where the scheme names one. Raises ModelError."""
        find_drafter(scheme, self._loaded, self._report, self._cache)

    def new_notices(self) -> list[str]:
        """Messages for the user since the last call: a blend that returns has the same ones."""
        new = [text for text in dict.fromkeys(self._notices) if text not in self._noticed]
        self._noticed.update(new)
        self._notices.clear()
        return new

    def close(self) -> None:
        """Free the experts."""
        self._prepared, self._cache = None, ExpertCache()
