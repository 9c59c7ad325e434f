"""Captions for images, on any CPU.

>>> import lightcap
>>> with lightcap.demo() as model:
...     result = model.caption("room.png")
>>> result.caption
'a yellow cup under three small blue balloons in a room'
>>> sorted({concept.label for concept in result.concepts})
['blue balloon', 'yellow cup']

`Model` opens a `.lcw` file, `demo()` the small model that ships with the engine, which knows illustrated
scenes only. A model may be used by any number of threads at once, by forked and by spawned processes, and is
pickled as its path and options. Nothing else needs to be installed; numpy arrays and PIL images are taken
where the caller has them.
"""

from ._errors import (
    CancelledError,
    Error,
    InputError,
    InternalError,
    IsaError,
    ModelError,
    OutOfMemoryError,
    UsageError,
)
from ._library import default_threads, instruction_sets, version
from ._model import Model, Pixels, Source, demo, demo_model_path
from ._results import Alternative, Concept, Result, Timings

__version__ = version()

__all__ = [
    "Alternative",
    "CancelledError",
    "Concept",
    "Error",
    "InputError",
    "InternalError",
    "IsaError",
    "Model",
    "ModelError",
    "OutOfMemoryError",
    "Pixels",
    "Result",
    "Source",
    "Timings",
    "UsageError",
    "__version__",
    "default_threads",
    "demo",
    "demo_model_path",
    "instruction_sets",
    "version",
]
