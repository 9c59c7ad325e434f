"""Models, and the sessions of the C API behind them."""

from __future__ import annotations

import ctypes
import os
import weakref
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from queue import SimpleQueue
from types import TracebackType
from typing import Any, Union

from . import _library as c
from . import _pixels
from ._errors import InputError, UsageError
from ._library import library
from ._results import Alternative, Concept, Result, Timings

Pixels = Union[_pixels.HasArrayInterface, _pixels.PilImage]
"""Pictures that are decoded already: uint8 arrays of height x width x 3, and PIL images."""
Source = Union[str, "os.PathLike[str]", bytes, bytearray, memoryview, Pixels]
"""Everything that can be captioned: a path, the bytes of a picture's file, or its pixels."""
Words = Sequence[Union[str, Sequence[str]]]
"""Words that captions must contain: each as text, or as a list of its forms, of which one is enough."""


class _Handle:
    """Something that the library opened, closed when nobody has it any more.

    Not when the interpreter ends: threads may be captioning then, and the system takes all back.
    """

    def __init__(self, open_it: Any, close: Any, *arguments: Any) -> None:
        pointer = ctypes.c_void_p()
        c.check(open_it(*arguments, ctypes.byref(pointer)))
        self.pointer = pointer
        weakref.finalize(self, close, pointer).atexit = False


@dataclass(frozen=True)
class _Options:
    """A model's options, as `Model` takes them."""

    threads: int = 0
    isa: str | None = None
    max_beams: int = 5
    low_memory: bool = False
    read_into_memory: bool = False


class Model:
    """A `.lcw` file that is open.

    Any threads may use a model at once: each call takes a session that is free or opens one, with the memory
    and threads that a caption takes (`peak_bytes`), and leaves it to the next. Forked children may go on with
    it. It is pickled as its path and options, so that a spawned process opens the file itself; weights are
    mapped, so that all processes share one copy in memory.

    `threads`: of one caption; 0 for `default_threads()`. `isa`: one of `instruction_sets()`; else
    $LIGHTCAP_ISA, else the best here. `max_beams`: the most that a caption may ask for. `low_memory`: slower,
    in about the memory of the file. `read_into_memory`: for files that may change while they are open.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        threads: int = 0,
        isa: str | None = None,
        max_beams: int = 5,
        low_memory: bool = False,
        read_into_memory: bool = False,
    ) -> None:
        self._path = os.path.abspath(os.fspath(path))
        self._options = _Options(threads, isa, max_beams, low_memory, read_into_memory)
        options = c.sized(c.ModelOptions(read_into_memory=int(read_into_memory)))
        self._model: _Handle | None = _Handle(
            library.lightcap_model_open, library.lightcap_model_close, _encoded(self._path), ctypes.byref(options))
        # Free sessions by their number of threads and of constraints' states. A deque's ends are taken and given
        # back in one step, so no lock is needed, nor can one be held by another thread at the moment of a fork.
        self._free: dict[tuple[int, int], deque[_Handle]] = {}
        # A model opens in no time and its sessions only when they are needed; wrong options are said now.
        with self._session(threads):
            pass

    def caption(
        self,
        source: Source,
        *,
        beams: int = 1,
        length_penalty: float = 1.0,
        ignore_exif: bool = False,
        max_pixels: int = 1 << 26,
        must_contain: Words = (),
        timeout: float | None = None,
    ) -> Result:
        """The caption of a picture: a path, the bytes of its file, a PIL image, or an array of its pixels.

        Raises InputError for pictures that cannot be read; nothing else is wrong then. Raises CancelledError, a
        TimeoutError, after `timeout` seconds.

        >>> from pathlib import Path
        >>> model.caption("meadow.png").caption
        'a small purple flower under a yellow balloon in a meadow'
        >>> model.caption(Path("night.png").read_bytes(), beams=3).caption
        'two yellow cars under a small moon at night'

        `must_contain`: up to four words, each of which the caption contains in one of its forms; the search is
        `beams` wide for each set of words that a caption may have so far. Captions with so many words have a
        session of their own.

        >>> model.caption("night.png", beams=5, must_contain=["sky", ["car", "cars"]]).caption
        'two yellow cars under a small moon at night, a starry sky'
        """
        options = _options(beams, length_penalty, ignore_exif, max_pixels)
        constraints = self._constraints(must_contain, options)
        if timeout is not None:
            if not 0 < timeout < 4e6:
                raise UsageError(f"timeout is a number of seconds above 0, or None, not {timeout}")
            options.deadline_ms = max(1, round(timeout * 1000))
        return self._caption(source, self._options.threads, options, constraints)

    def stream(
        self,
        source: Source,
        *,
        beams: int = 1,
        length_penalty: float = 1.0,
        ignore_exif: bool = False,
        max_pixels: int = 1 << 26,
        must_contain: Words = (),
    ) -> Generator[str, None, Result]:
        """The caption while it comes: after each token the text so far, and the result as the generator's value.

        With one beam the text only grows. A generator that is closed ends the caption within milliseconds.

        >>> for text in model.stream("night.png"):
        ...     print(text)
        two
        two yellow
        two yellow cars
        two yellow cars under
        two yellow cars under a
        two yellow cars under a small
        two yellow cars under a small moon
        two yellow cars under a small moon at
        two yellow cars under a small moon at night
        """
        options = _options(beams, length_penalty, ignore_exif, max_pixels)
        constraints = self._constraints(must_contain, options)
        flag = _Handle(library.lightcap_cancel_open, library.lightcap_cancel_close)
        options.cancel = flag.pointer
        texts: SimpleQueue[str | None] = SimpleQueue()

        def on_token(_context: int | None, _token: int, text: bytes) -> int:
            texts.put(text.decode(errors="replace"))
            return 0

        options.on_token = c.TokenFunction(on_token)
        with ThreadPoolExecutor(1, thread_name_prefix="lightcap") as executor:
            caption = executor.submit(self._caption, source, self._options.threads, options, constraints)
            caption.add_done_callback(lambda _: texts.put(None))
            try:
                last = ""
                while (text := texts.get()) is not None:
                    if text != last:  # the token that ends a caption adds nothing
                        yield text
                    last = text
            except BaseException:
                library.lightcap_cancel_set(flag.pointer, 1)
                raise
            return caption.result()

    def caption_many(
        self,
        sources: Iterable[Source],
        *,
        jobs: int = 0,
        beams: int = 1,
        length_penalty: float = 1.0,
        ignore_exif: bool = False,
        max_pixels: int = 1 << 26,
        must_contain: Words = (),
    ) -> Iterator[Result]:
        """Captions of many pictures in their order, `jobs` at a time, which share the model's threads.

        0 jobs are one picture a thread, which captions the most a second. A picture that cannot be read is a
        result with an `error`. `sources` is read only a little ahead of the results: it may be endless.

        >>> for result in model.caption_many(["meadow.png", "missing.png"]):
        ...     print(result.path, result.caption or result.error)
        meadow.png a small purple flower under a yellow balloon in a meadow
        missing.png missing.png: cannot open the file: No such file or directory
        """
        options = _options(beams, length_penalty, ignore_exif, max_pixels)
        if not 0 <= jobs <= 1024:
            raise UsageError(f"jobs is a number from 0 to 1024, not {jobs}")
        threads = self._options.threads or c.default_threads()
        jobs = jobs or threads
        constraints = self._constraints(must_contain, options)  # now, not at the first result
        return self._caption_in_order(sources, jobs, max(1, threads // jobs), options, constraints)

    def _caption_in_order(
        self,
        sources: Iterable[Source],
        jobs: int,
        threads: int,
        options: c.CaptionOptions,
        constraints: _Handle | None,
    ) -> Iterator[Result]:
        def caption(source: Source) -> Result:
            try:
                return self._caption(source, threads, options, constraints)
            except InputError as error:
                return Result("", path=_path_of(source), error=str(error))

        ahead: deque[Future[Result]] = deque()
        executor = ThreadPoolExecutor(jobs, thread_name_prefix="lightcap")
        try:
            for source in sources:
                ahead.append(executor.submit(caption, source))
                if len(ahead) > 2 * jobs:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            executor.shutdown(cancel_futures=True)

    def _constraints(self, words: Words, options: c.CaptionOptions) -> _Handle | None:
        """The words as `options` have them then; to be kept while captions use them."""
        model = self._opened()
        if not words:
            return None
        constraints = _Handle(
            library.lightcap_constraints_open, library.lightcap_constraints_close, model.pointer)
        for word in [words] if isinstance(words, str) else words:
            forms = [word] if isinstance(word, str) else word
            texts = (ctypes.c_char_p * len(forms))(*(_form(form) for form in forms))
            c.check(library.lightcap_constraints_add(constraints.pointer, texts, len(forms)))
        options.constraints = constraints.pointer
        return constraints

    def _caption(
        self, source: Source, threads: int, options: c.CaptionOptions, constraints: _Handle | None
    ) -> Result:
        states = 0 if constraints is None else int(library.lightcap_constraints_states(constraints.pointer))
        arguments = (ctypes.byref(options), ctypes.byref(result := c.sized(c.ResultStruct())))
        view: _pixels.View | None = None
        path = _path_of(source)
        with self._session(threads, states) as session:
            if path is not None:
                c.check(library.lightcap_caption_file(session.pointer, _encoded(path), *arguments))
            elif isinstance(source, (bytes, bytearray)) or (isinstance(source, memoryview) and source.ndim <= 1):
                data = bytes(source)  # the same object, if it is bytes
                c.check(library.lightcap_caption_image(session.pointer, data, len(data), *arguments))
            else:
                view = _view(source, options.ignore_exif == 0)
                c.check(library.lightcap_caption_pixels(
                    session.pointer, view.address, view.width, view.height, view.row_bytes, *arguments))  # fmt: skip
            return replace(_copied(result), path=path)

    @property
    def path(self) -> str:
        """The file's absolute path."""
        return self._path

    @property
    def isa(self) -> str:
        """The instruction set that captions use."""
        with self._session(self._options.threads) as session:
            return str(library.lightcap_session_isa(session.pointer).decode())

    @property
    def threads(self) -> int:
        """The threads of one caption, the calling one included."""
        with self._session(self._options.threads) as session:
            return int(library.lightcap_session_threads(session.pointer))

    @property
    def peak_bytes(self) -> int:
        """The memory of one caption, weights included; decoding a file comes on top."""
        with self._session(self._options.threads) as session:
            return int(library.lightcap_session_peak_bytes(session.pointer))

    def close(self) -> None:
        """Gives the memory back once the captions that run now are done. Closing twice is fine."""
        self._model = None
        self._free = {}

    def __enter__(self) -> Model:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        return _open, (self._path, self._options)

    def __repr__(self) -> str:
        changed = (item for item in vars(self._options).items() if item not in vars(_Options()).items())
        return f"lightcap.Model({self._path!r}{''.join(f', {name}={value!r}' for name, value in changed)})"

    def _opened(self) -> _Handle:
        model = self._model
        if model is None:
            raise UsageError(f"{self._path}: the model is closed")
        return model

    @contextmanager
    def _session(self, threads: int, states: int = 0) -> Iterator[_Handle]:
        model = self._opened()
        free = self._free.setdefault((threads, states), deque())
        try:
            session = free.pop()
        except IndexError:
            session = self._open_session(model, threads, states)
        try:
            yield session
        finally:
            free.append(session)

    def _open_session(self, model: _Handle, threads: int, states: int) -> _Handle:
        isa = self._options.isa
        options = c.sized(c.SessionOptions(
            threads=threads, isa=None if isa is None else isa.encode(), max_beams=self._options.max_beams,
            low_memory=int(self._options.low_memory), max_states=states))  # fmt: skip
        return _Handle(
            library.lightcap_session_open, library.lightcap_session_close, model.pointer, ctypes.byref(options))


def _open(path: str, options: _Options) -> Model:
    return Model(path, **vars(options))


def _options(beams: int, length_penalty: float, ignore_exif: bool, max_pixels: int) -> c.CaptionOptions:
    options: c.CaptionOptions = c.sized(c.CaptionOptions(
        beams=beams, length_penalty=length_penalty, ignore_exif=int(ignore_exif), max_pixels=max_pixels))  # fmt: skip
    return options


def _form(form: str) -> bytes:
    encoded = form.encode()
    if b"\0" in encoded:  # C's strings would end there
        raise UsageError(f"{form!r}: a word has no zero character")
    return encoded


def _path_of(source: Source) -> str | None:
    if isinstance(source, (str, os.PathLike)):
        return os.fspath(source)
    return None


def _encoded(path: str) -> bytes:
    encoded = os.fsencode(path)
    if b"\0" in encoded:  # C's strings would end there
        raise InputError(f"{path!r}: a path has no zero character")
    return encoded


def _view(source: Any, apply_exif: bool) -> _pixels.View:
    if _pixels.is_pil_image(source):
        return _pixels.of_pil_image(source, apply_exif)
    if hasattr(source, "__array_interface__"):
        return _pixels.of_array(source)
    if isinstance(source, memoryview):
        return _pixels.of_buffer(source)
    raise TypeError(
        "a picture is a path, the bytes of its file, a PIL image or an array of uint8, not "
        f"{type(source).__name__}")


def _copied(result: c.ResultStruct) -> Result:
    """The result, free of the session's memory."""
    pointer = ctypes.byref(result)
    found = (library.lightcap_concept_at(pointer, i).contents for i in range(result.concept_count))
    concepts = tuple(
        Concept(one.label.decode(errors="replace"), one.similarity, one.score, tuple(one.box)) for one in found)
    hypotheses = (library.lightcap_hypothesis_at(pointer, i).contents for i in range(result.hypothesis_count))
    alternatives = tuple(
        Alternative(one.caption.decode(errors="replace"), one.score, tuple(one.tokens[: one.token_count]),
                    tuple(one.token_log_probabilities[: one.token_count])) for one in hypotheses)  # fmt: skip
    timings = Timings(**{name: getattr(result.timings_ms, name) for name in c.STAGES})
    return Result(
        caption=result.caption.decode(errors="replace"),
        score=result.score,
        tokens=tuple(result.tokens[: result.token_count]),
        token_log_probabilities=tuple(result.token_log_probabilities[: result.token_count]),
        alternatives=alternatives,
        concepts=concepts,
        timings_ms=timings,
    )


def demo_model_path() -> str:
    """The path of the model that ships with the engine, which knows illustrated scenes only."""
    return os.fspath(c.PACKAGE / "scenes.lcw")


def demo(**options: Any) -> Model:
    """The model that ships with the engine, with `Model`'s options."""
    return Model(demo_model_path(), **options)
