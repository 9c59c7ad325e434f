"""Captions as rows of a table, which `lightcap.ray` and `lightcap.spark` share."""

from __future__ import annotations

import hashlib
import os
from typing import Any

from ._library import version
from ._model import Model, demo_model_path
from ._results import Result
from ._size import upright_size

COLUMNS = (
    "path", "caption", "score", "concepts", "width", "height", "status", "error", "model_sha256",
    "lightcap_version",
)  # fmt: skip
"""A caption or an error of each picture: `status` is "ok" or "error", and what does not apply is null."""

_opened: dict[tuple[Any, ...], Rows] = {}


class Rows:
    """Makes rows with one model, a picture a thread: most captions a second for a machine whose cores all work."""

    def __init__(self, model: str | None, threads: int, options: dict[str, Any]) -> None:
        path = demo_model_path() if model is None else model
        self.model = Model(path, threads=threads, max_beams=max(1, int(options.get("beams", 1))))
        self.options = options
        self.model_sha256 = _sha256(self.model.path)

    @staticmethod
    def of_this_process(model: str | None, threads: int, options: dict[str, Any]) -> Rows:
        """The one that this process has opened before, or a new one."""
        key = (os.getpid(), model, threads, repr(sorted(options.items())))
        if key not in _opened:
            _opened[key] = Rows(model, threads, options)
        return _opened[key]

    def row(self, path: str, data: bytes | None) -> dict[str, Any]:
        """The row of a picture's bytes. A bad picture is a row with an error; it fails nothing else."""
        if data is None:
            result = Result("", error="there are no bytes")
        else:
            [result] = self.model.caption_many([bytes(data)], jobs=1, **self.options)
        size = upright_size(data) if data is not None and result.ok else None
        return {
            "path": path,
            "caption": result.caption if result.ok else None,
            "score": result.score if result.ok else None,
            "concepts": [
                {"label": c.label, "similarity": c.similarity, "score": c.score, "box": list(c.box)}
                for c in result.concepts
            ],
            "width": size[0] if size else None,
            "height": size[1] if size else None,
            "status": "ok" if result.ok else "error",
            "error": result.error,
            "model_sha256": self.model_sha256,
            "lightcap_version": version(),
        }


def _sha256(path: str) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while part := file.read(1 << 20):
            digest.update(part)
    return digest.hexdigest()
