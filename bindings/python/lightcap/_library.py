"""The C API of lightcap.h by ctypes: structs, functions and errors, nothing beyond.

Each struct begins with its own size, from which a newer library tells what this caller knows;
tests/python_layout.c holds sizes and offsets against the header.
"""

from __future__ import annotations

import ctypes
import logging
import os
from ctypes import POINTER, Structure, c_char_p, c_double, c_float, c_int, c_size_t, c_uint32, c_uint64, c_void_p
from pathlib import Path
from typing import Any, NoReturn

from ._errors import BY_STATUS, InternalError

PACKAGE = Path(__file__).absolute().parent
_log = logging.getLogger("lightcap")


class ModelOptions(Structure):
    _fields_ = [("struct_size", c_size_t), ("read_into_memory", c_int)]


class SessionOptions(Structure):
    _fields_ = [
        ("struct_size", c_size_t),
        ("threads", c_int),
        ("isa", c_char_p),
        ("max_beams", c_int),
        ("executor", c_void_p),
        ("low_memory", c_int),
        ("max_states", c_size_t),
    ]


TokenFunction = ctypes.CFUNCTYPE(c_int, c_void_p, c_uint32, c_char_p)


class CaptionOptions(Structure):
    _fields_ = [
        ("struct_size", c_size_t),
        ("beams", c_int),
        ("length_penalty", c_double),
        ("ignore_exif", c_int),
        ("max_pixels", c_uint64),
        ("cancel", c_void_p),
        ("on_token", TokenFunction),
        ("on_token_context", c_void_p),
        ("deadline_ms", c_uint32),
        ("work", c_int),
        ("constraints", c_void_p),
    ]


class ConceptStruct(Structure):
    _fields_ = [("label", c_char_p), ("similarity", c_float), ("score", c_float), ("box", c_float * 4)]


STAGES = (
    "read_image", "preprocess", "detector", "image_encoder", "concepts", "fusion_prefix", "decoding", "total",
)  # fmt: skip


class TimingsStruct(Structure):
    _fields_ = [(stage, c_double) for stage in STAGES]


class HypothesisStruct(Structure):
    _fields_ = [
        ("caption", c_char_p),
        ("score", c_double),
        ("tokens", POINTER(c_uint32)),
        ("token_log_probabilities", POINTER(c_float)),
        ("token_count", c_size_t),
    ]


class ResultStruct(Structure):
    _fields_ = [
        ("struct_size", c_size_t),
        ("caption", c_char_p),
        ("score", c_double),
        ("tokens", POINTER(c_uint32)),
        ("token_count", c_size_t),
        ("concepts", POINTER(ConceptStruct)),
        ("concept_count", c_size_t),
        ("timings_ms", TimingsStruct),
        ("concept_bytes", c_size_t),
        ("token_log_probabilities", POINTER(c_float)),
        ("hypotheses", POINTER(HypothesisStruct)),
        ("hypothesis_count", c_size_t),
        ("hypothesis_bytes", c_size_t),
    ]


LogFunction = ctypes.CFUNCTYPE(None, c_void_p, c_int, c_char_p)

# Arguments and result of each function that the package calls.
_FUNCTIONS: dict[str, tuple[list[Any], Any]] = {
    "lightcap_version": ([], c_char_p),
    "lightcap_last_error": ([], c_char_p),
    "lightcap_isa_name": ([c_size_t], c_char_p),
    "lightcap_isa_supported": ([c_char_p], c_int),
    "lightcap_default_threads": ([], c_int),
    "lightcap_set_log": ([LogFunction, c_void_p], None),
    "lightcap_model_open": ([c_char_p, POINTER(ModelOptions), POINTER(c_void_p)], c_int),
    "lightcap_model_close": ([c_void_p], None),
    "lightcap_session_open": ([c_void_p, POINTER(SessionOptions), POINTER(c_void_p)], c_int),
    "lightcap_session_close": ([c_void_p], None),
    "lightcap_session_isa": ([c_void_p], c_char_p),
    "lightcap_session_threads": ([c_void_p], c_int),
    "lightcap_session_peak_bytes": ([c_void_p], c_size_t),
    "lightcap_cancel_open": ([POINTER(c_void_p)], c_int),
    "lightcap_cancel_set": ([c_void_p, c_int], None),
    "lightcap_cancel_close": ([c_void_p], None),
    "lightcap_constraints_open": ([c_void_p, POINTER(c_void_p)], c_int),
    "lightcap_constraints_add": ([c_void_p, POINTER(c_char_p), c_size_t], c_int),
    "lightcap_constraints_states": ([c_void_p], c_size_t),
    "lightcap_constraints_close": ([c_void_p], None),
    "lightcap_concept_at": ([POINTER(ResultStruct), c_size_t], POINTER(ConceptStruct)),
    "lightcap_hypothesis_at": ([POINTER(ResultStruct), c_size_t], POINTER(HypothesisStruct)),
    "lightcap_caption_pixels": (
        [c_void_p, c_void_p, c_size_t, c_size_t, c_size_t, POINTER(CaptionOptions), POINTER(ResultStruct)],
        c_int,
    ),
    "lightcap_caption_image": (
        [c_void_p, c_void_p, c_size_t, POINTER(CaptionOptions), POINTER(ResultStruct)],
        c_int,
    ),
    "lightcap_caption_file": (
        [c_void_p, c_char_p, POINTER(CaptionOptions), POINTER(ResultStruct)],
        c_int,
    ),
}


def _load() -> ctypes.CDLL:
    path = PACKAGE / "liblightcap.so"
    try:
        library = ctypes.CDLL(os.fspath(path))
    except OSError as error:
        raise ImportError(f"{path}: cannot load the library: {error}; was lightcap installed by pip?") from error
    for name, (arguments, result) in _FUNCTIONS.items():
        function = getattr(library, name)
        function.argtypes = arguments
        function.restype = result
    return library


library = _load()


def _forward(_context: int | None, level: int, message: bytes) -> None:
    """Gives the library's notices to logging's "lightcap"."""
    _log.log(logging.WARNING if level > 0 else logging.INFO, "%s", message.decode(errors="replace"))


_log_function = LogFunction(_forward)  # kept for as long as the library may call it
library.lightcap_set_log(_log_function, None)


def fail(status: int) -> NoReturn:
    """Raises the exception of a status with the words of this thread's last failure."""
    raise BY_STATUS.get(status, InternalError)(library.lightcap_last_error().decode(errors="replace"))


def check(status: int) -> None:
    if status != 0:
        fail(status)


def sized(options: Any) -> Any:
    """The struct, with its size filled in."""
    options.struct_size = ctypes.sizeof(options)
    return options


def version() -> str:
    """The engine's version, such as "0.1.0"."""
    return str(library.lightcap_version().decode())


def default_threads() -> int:
    """The threads that a model uses by default: one for each CPU that this process may use, 8 at most."""
    return int(library.lightcap_default_threads())


def instruction_sets() -> dict[str, bool]:
    """The instruction sets that are built in, plainest first, and whether this CPU supports them."""
    found: dict[str, bool] = {}
    while (name := library.lightcap_isa_name(len(found))) is not None:
        found[name.decode()] = library.lightcap_isa_supported(name) == 1
    return found
