"""Parts by torch's own compiler: for GPUs, where one kernel then does what took many."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from typing import Any

import torch

__all__ = ["TorchCompiled"]

_log = logging.getLogger(__name__)


class TorchCompiled:
    """Stands in for a part's function: compiled when it is first called, or as it was where that cannot be.

    Parameters
    ----------
    run : callable
        Of tensors; each new shape is compiled anew.
    """

    def __init__(self, run: Callable[..., Any]) -> None:
        self._run = run
        self._compiled: Callable[..., Any] | None = None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of what torch's own compiler is written with
            try:
                self._compiled = torch.compile(run)
            except RuntimeError as error:  # not for this version of Python
                self._give_up(error)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Answer as the part would."""
        if self._compiled is None:
            return self._run(*args, **kwargs)
        try:
            return self._compiled(*args, **kwargs)
        except torch.OutOfMemoryError:  # the model's to deal with: smaller batches, then the CPU
            raise
        except (RuntimeError, UnicodeError) as error:  # no compiler, one that gives up, a locale it cannot read in
            self._give_up(error)
        return self._run(*args, **kwargs)

    def _give_up(self, error: Exception) -> None:
        reason = str(error).strip().partition("\n")[0]
        _log.warning("torch cannot compile this model here, so it runs uncompiled, which is slower: %s", reason)
        self._compiled = None
