"""The Python package as its users have it.

    PYTHONPATH=FOLDER-OF-THE-PACKAGE python bindings/python/tests/package_test.py [--layout PROGRAM] [TEST...]

With a wheel that is installed, PYTHONPATH is not needed. Tests of arrays and of PIL images are skipped where
Python has none. `--layout` is tests/python_layout.c, compiled.
"""

from __future__ import annotations

import ctypes
import doctest
import gc
import hashlib
import importlib
import io
import itertools
import json
import multiprocessing
import os
import pickle
import subprocess
import sys
import tempfile
import threading
import unittest
from concurrent.futures import ThreadPoolExecutor
from dataclasses import FrozenInstanceError
from pathlib import Path

import lightcap
from lightcap import _library, _rows, _size

try:
    import numpy
    from PIL import Image, ImageOps
except ImportError:
    numpy = Image = None

HERE = Path(__file__).resolve().parent
PICTURES = HERE.parents[2] / "models/demo/pictures"
ROOM, MEADOW, NIGHT, STREET = (str(PICTURES / name) for name in ("room.png", "meadow.png", "night.png", "street.jpg"))
SAID = "a yellow cup under three small blue balloons in a room"
EMULATOR = os.environ.get("LIGHTCAP_EMULATOR", "").split()  # for the programs of another machine's wheel
layout_program: str | None = None

needs_arrays = unittest.skipIf(numpy is None, "needs numpy and PIL")


def caption_in_child(model: lightcap.Model, path: str) -> tuple[str, float, int]:
    result = model.caption(path)
    return result.caption, result.score, os.getpid()


def resident_bytes() -> int:
    """Without what the C library keeps of freed memory, where it can be told to give that back."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class Captions(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        cls.model = lightcap.demo()
        cls.room = cls.model.caption(ROOM)

    def test_equal_the_programs_to_the_bit(self) -> None:
        program = Path(_library.PACKAGE, "bin/lightcap")
        for path in (ROOM, STREET):
            said = subprocess.run([*EMULATOR, program, "caption", "--model", lightcap.demo_model_path(), "--json", path],
                                  capture_output=True, check=True, text=True)  # fmt: skip
            line = json.loads(said.stdout)
            result = self.model.caption(path)
            self.assertEqual((result.caption, result.score, list(result.tokens)),
                             (line["caption"], line["score"], line["tokens"]))  # fmt: skip
            self.assertEqual([concept.label for concept in result.concepts],
                             [concept["label"] for concept in line["concepts"]])  # fmt: skip
            for concept, expected in zip(result.concepts, line["concepts"]):
                self.assertEqual(concept.box, tuple(ctypes.c_float(side).value for side in expected["box"]))
            self.assertGreater(result.timings_ms.total, result.timings_ms.image_encoder)

    def test_are_the_same_for_a_path_and_the_bytes_of_the_file(self) -> None:
        data = Path(ROOM).read_bytes()
        for source in (Path(ROOM), data, bytearray(data), memoryview(data), memoryview(bytearray(data))):
            result = self.model.caption(source)
            self.assertEqual(result.concepts, self.room.concepts, type(source))
            self.assertEqual((result.caption, result.score), (SAID, self.room.score), type(source))
        self.assertEqual(self.model.caption(Path(ROOM)).path, ROOM)
        self.assertIsNone(self.model.caption(data).path)

    @needs_arrays
    def test_are_the_same_for_arrays_however_their_pixels_lie(self) -> None:
        pixels = numpy.asarray(Image.open(ROOM).convert("RGB"))
        self.assertFalse(pixels.flags.writeable)
        height, width, _ = pixels.shape
        wide = numpy.zeros((height, width + 5, 3), numpy.uint8)
        wide[:, :width] = pixels
        planes = numpy.ascontiguousarray(pixels.transpose(2, 0, 1))
        for array in (pixels, wide[:, :width], pixels[:, :, ::-1].copy()[:, :, ::-1], pixels[::-1].copy()[::-1],
                      planes.transpose(1, 2, 0), memoryview(numpy.ascontiguousarray(pixels))):  # fmt: skip
            result = self.model.caption(array)
            self.assertEqual((result.concepts, result.score), (self.room.concepts, self.room.score))
        for array in (pixels[:, :, 0], pixels.astype(numpy.float32), numpy.zeros((4, 4, 4), numpy.uint8), pixels[:0]):
            with self.assertRaisesRegex(lightcap.InputError, "height x width x 3"):
                self.model.caption(array)

    @needs_arrays
    def test_are_the_same_for_pil_images_which_are_turned_upright_like_files(self) -> None:
        image = Image.open(ROOM)
        self.assertEqual(self.model.caption(image).score, self.room.score)
        palette = Image.open(ROOM).convert("P")
        self.assertEqual(self.model.caption(palette).score, self.model.caption(palette.convert("RGB")).score)
        turned = Image.open(ROOM).convert("RGB").transpose(Image.Transpose.ROTATE_90)
        exif = Image.Exif()
        exif[0x0112] = 6
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "turned.png")
            turned.save(path, exif=exif)
            for options in ({}, {"ignore_exif": True}):
                self.assertEqual(self.model.caption(Image.open(path), **options).score,
                                 self.model.caption(path, **options).score)  # fmt: skip
            self.assertEqual(self.model.caption(path).score, self.room.score)
            self.assertNotEqual(self.model.caption(path, ignore_exif=True).score, self.room.score)

    @needs_arrays
    def test_of_images_that_pil_cannot_decode_are_errors_of_the_input(self) -> None:
        data = Path(STREET).read_bytes()
        with self.assertRaisesRegex(lightcap.InputError, "truncated"):
            self.model.caption(Image.open(io.BytesIO(data[: len(data) // 2])))

    def test_of_anything_else_are_refused(self) -> None:
        for source in (None, 7, [1, 2], object()):
            with self.assertRaisesRegex(TypeError, "a picture is a path"):
                self.model.caption(source)

    def test_take_options(self) -> None:
        beams = self.model.caption(ROOM, beams=5)
        self.assertGreaterEqual(beams.score, self.room.score - 1e-6)
        sums = self.model.caption(ROOM, length_penalty=0.0)
        self.assertAlmostEqual(sums.score, self.room.score * len(self.room.tokens), places=4)
        with self.assertRaisesRegex(lightcap.InputError, "pixels"):
            self.model.caption(ROOM, max_pixels=100)

    def test_have_alternatives_and_what_each_token_is_worth(self) -> None:
        result = self.model.caption(ROOM, beams=3)
        self.assertEqual(len(result.alternatives), 3)
        best = result.alternatives[0]
        self.assertEqual((best.caption, best.score, best.tokens), (result.caption, result.score, result.tokens))
        self.assertEqual(best.token_log_probabilities, result.token_log_probabilities)
        self.assertEqual(len({one.caption for one in result.alternatives}), 3)
        for one in result.alternatives:
            self.assertAlmostEqual(sum(one.token_log_probabilities) / len(one.tokens), one.score, places=4)

    def test_contain_the_words_that_they_must(self) -> None:
        words = ["large", ["tree", "trees"]]
        result = self.model.caption(ROOM, beams=3, must_contain=words)
        self.assertEqual(len(result.alternatives), 3)
        streamed = list(self.model.stream(ROOM, beams=3, must_contain=words))
        for text in [one.caption for one in result.alternatives] + streamed[-1:]:
            self.assertTrue({"large"} < set(text.split()) & {"large", "tree", "trees"}, text)
        [many] = self.model.caption_many([ROOM], beams=3, must_contain=words)
        self.assertEqual(many, result)
        self.assertIn("cat", self.model.caption(ROOM, must_contain="cat").caption.split())  # a word, not letters
        self.assertEqual(self.model.caption(ROOM), self.room)
        many_states = ["red cat under", "blue dog under", "large tree under", "small moon under"]
        with lightcap.demo(max_beams=32) as wide, self.assertRaisesRegex(
            lightcap.ModelError, "or the beams and states asked for, are too many"
        ):
            wide.caption(ROOM, must_contain=many_states)
        for wrong in (["zebra"], ["tree"] * 5, [[]], ["a\0b"]):
            with self.assertRaises(lightcap.UsageError):
                self.model.caption(ROOM, must_contain=wrong)
            with self.assertRaises(lightcap.UsageError):
                self.model.caption_many([ROOM], must_contain=wrong)

    def test_that_take_too_long_are_cancelled(self) -> None:
        with self.assertRaises(TimeoutError) as caught:
            self.model.caption(ROOM, timeout=0.001)
        self.assertIsInstance(caught.exception, lightcap.CancelledError)
        self.assertEqual(self.model.caption(ROOM, timeout=1000), self.room)
        with self.assertRaises(lightcap.UsageError):
            self.model.caption(ROOM, timeout=0)

    def test_come_word_by_word(self) -> None:
        def collect():
            return (yield from self.model.stream(ROOM))

        texts = []
        generator = collect()
        while True:
            try:
                texts.append(next(generator))
            except StopIteration as end:
                result = end.value
                break
        self.assertEqual(result, self.room)
        self.assertEqual(texts[-1], SAID)
        self.assertTrue(all(after.startswith(before) for before, after in zip(texts, texts[1:])), texts)
        self.assertGreaterEqual(len(texts), len(SAID.split()))

        half = self.model.stream(Path(ROOM).read_bytes())
        self.assertEqual([next(half), next(half)], texts[:2])
        half.close()
        self.assertEqual([thread for thread in threading.enumerate() if thread.name.startswith("lightcap")], [])
        self.assertEqual(self.model.caption(ROOM), self.room)
        with self.assertRaises(lightcap.InputError):
            list(self.model.stream("missing.png"))

    def test_outlive_the_model_and_cannot_be_changed(self) -> None:
        with lightcap.demo() as model:
            result = model.caption(ROOM)
            model.caption(NIGHT)
        del model
        gc.collect()
        self.assertEqual((result.caption, result.concepts), (SAID, self.room.concepts))
        with self.assertRaises(FrozenInstanceError):
            result.caption = ""
        with self.assertRaises(FrozenInstanceError):
            result.concepts[0].label = ""
        self.assertEqual(pickle.loads(pickle.dumps(result)), result)


class Errors(unittest.TestCase):
    def test_name_what_was_wrong(self) -> None:
        model = lightcap.demo()
        with self.assertRaisesRegex(lightcap.InputError, "missing.png: cannot open"):
            model.caption("missing.png")
        with self.assertRaisesRegex(lightcap.InputError, "not a picture"):
            model.caption(b"hello")
        with self.assertRaises(lightcap.InputError):
            model.caption(b"")
        with self.assertRaisesRegex(lightcap.InputError, "zero character"):
            model.caption("a\0b.png")
        with self.assertRaisesRegex(lightcap.UsageError, "beams"):
            model.caption(ROOM, beams=6)
        with self.assertRaises(lightcap.ModelError):
            lightcap.Model(ROOM)
        with self.assertRaises(lightcap.ModelError) as caught:
            lightcap.Model("missing.lcw")
        self.assertEqual(caught.exception.status, 3)
        with self.assertRaisesRegex(lightcap.IsaError, "mmx"):
            lightcap.demo(isa="mmx")
        with self.assertRaises(lightcap.UsageError):
            lightcap.demo(threads=-1)
        self.assertEqual(model.caption(ROOM).caption, SAID)

    def test_of_a_closed_model(self) -> None:
        model = lightcap.demo()
        model.close()
        model.close()
        with self.assertRaisesRegex(lightcap.UsageError, "closed"):
            model.caption(ROOM)
        with self.assertRaisesRegex(lightcap.UsageError, "closed"):
            model.caption_many([ROOM])

    def test_are_logged_where_they_are_notices(self) -> None:
        with self.assertLogs("lightcap", "INFO") as logged:
            lightcap.demo(isa="sse2" if "sse2" in lightcap.instruction_sets() else None)
        self.assertTrue(any("kernels" in line for line in logged.output), logged.output)


class Many(unittest.TestCase):
    def test_come_in_order_with_errors_as_results(self) -> None:
        model = lightcap.demo()
        sources = [ROOM, "missing.png", Path(NIGHT).read_bytes(), __file__, *[ROOM, MEADOW] * 10]
        for options in ({}, {"jobs": 1}, {"jobs": 3}):
            results = list(model.caption_many(sources, **options))
            self.assertEqual([result.path for result in results],
                             [None if isinstance(source, bytes) else source for source in sources])  # fmt: skip
            self.assertEqual([result.ok for result in results], [True, False, True, False] + [True] * 20)
            self.assertEqual([results[0]] * 10, results[4::2])
            self.assertEqual(results[0].caption, SAID)
            self.assertIn("cannot open", results[1].error)
            self.assertEqual(results[1].caption, "")
        with self.assertRaises(TypeError):
            list(model.caption_many([ROOM, None]))
        with self.assertRaises(lightcap.UsageError):
            model.caption_many([ROOM], jobs=-1)

    def test_read_their_sources_only_a_little_ahead(self) -> None:
        taken = itertools.count()
        endless = (ROOM for _ in taken)
        results = lightcap.demo().caption_many(endless, jobs=2)
        self.assertEqual([next(results).caption for _ in range(3)], [SAID] * 3)
        self.assertLessEqual(next(taken), 3 + 2 * 2 + 2)
        results.close()
        self.assertEqual([thread for thread in threading.enumerate() if thread.name.startswith("lightcap")], [])

    def test_hand_on_what_their_sources_raise(self) -> None:
        def broken():
            yield ROOM
            raise RuntimeError("the list is gone")

        results = lightcap.demo().caption_many(broken())
        with self.assertRaisesRegex(RuntimeError, "the list is gone"):
            list(results)


class Processes(unittest.TestCase):
    def setUp(self) -> None:
        self.model = lightcap.demo(threads=2)
        self.expected = self.model.caption(ROOM)

    def test_threads_share_a_model(self) -> None:
        with ThreadPoolExecutor(8) as executor:
            results = list(executor.map(self.model.caption, [ROOM, NIGHT] * 20))
        self.assertEqual(results[0::2], [self.expected] * 20)
        self.assertEqual(len({(result.caption, result.score) for result in results}), 2)

    def test_pickled_models_are_opened_again(self) -> None:
        model = lightcap.demo(threads=1, low_memory=True)
        again = pickle.loads(pickle.dumps(model))
        self.assertEqual(repr(again), repr(model))
        self.assertIn("low_memory=True", repr(model))
        self.assertEqual((again.threads, again.peak_bytes), (1, model.peak_bytes))
        self.assertEqual(again.caption(ROOM).caption, SAID)

    def test_spawned_and_forked_processes_caption(self) -> None:
        for method in ("spawn", "fork"):
            with multiprocessing.get_context(method).Pool(2) as pool:
                results = pool.starmap(caption_in_child, [(self.model, ROOM)] * 4)
            self.assertEqual({result[:2] for result in results}, {(SAID, self.expected.score)}, method)
            self.assertNotIn(os.getpid(), {result[2] for result in results})

    def test_children_go_on_with_what_they_inherit_while_other_threads_caption(self) -> None:
        over = threading.Event()

        def go_on_captioning() -> None:
            while not over.is_set():
                self.model.caption(NIGHT)

        threads = [threading.Thread(target=go_on_captioning) for _ in range(2)]
        for thread in threads:
            thread.start()
        try:
            for _ in range(5):
                child = os.fork()
                if child == 0:
                    same = False
                    try:
                        same = self.model.caption(ROOM) == self.expected
                        several = self.model.caption_many([ROOM] * 3, jobs=2)
                        same = same and list(several) == [self.expected] * 3
                        self.model.close()
                    finally:
                        os._exit(0 if same else 1)
                self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), 0)
        finally:
            over.set()
            for thread in threads:
                thread.join()
        self.assertEqual(self.model.caption(ROOM), self.expected)

    def test_models_give_their_memory_back(self) -> None:
        def open_and_caption() -> None:
            with lightcap.demo(threads=1) as model:
                model.caption(MEADOW)

        for _ in range(5):
            open_and_caption()
        before = resident_bytes()
        for _ in range(30):
            open_and_caption()
        # Less than half of what one model and its session take.
        self.assertLess(resident_bytes() - before, lightcap.demo(threads=1).peak_bytes // 2)


class Tables(unittest.TestCase):
    """Rows of `lightcap.ray` and `lightcap.spark`, without either."""

    def test_have_a_row_a_picture_whether_good_or_bad(self) -> None:
        rows = _rows.Rows.of_this_process(None, 1, {"beams": 2})
        self.assertIs(rows, _rows.Rows.of_this_process(None, 1, {"beams": 2}))
        good, bad, none = (rows.row("p", data) for data in (Path(ROOM).read_bytes(), b"text", None))
        self.assertEqual([tuple(row) for row in (good, bad, none)], [_rows.COLUMNS] * 3)
        self.assertEqual((good["caption"], good["status"], good["error"]), (SAID, "ok", None))
        self.assertEqual(good["caption"], lightcap.demo(threads=1).caption(ROOM, beams=2).caption)
        self.assertTrue(all(c["box"][2] <= good["width"] and c["box"][3] <= good["height"] for c in good["concepts"]))
        self.assertEqual((bad["caption"], bad["status"], bad["width"], bad["concepts"]), (None, "error", None, []))
        self.assertIn("not a picture", bad["error"])
        self.assertEqual(none["status"], "error")
        digest = hashlib.sha256(Path(lightcap.demo_model_path()).read_bytes()).hexdigest()
        self.assertEqual((good["model_sha256"], bad["lightcap_version"]), (digest, lightcap.__version__))

    @needs_arrays
    def test_have_the_size_of_the_upright_picture(self) -> None:
        image = Image.open(ROOM).convert("RGB").resize((60, 40))
        for orientation in range(9):
            exif = Image.Exif()
            exif[0x0112] = orientation
            for form in ("JPEG", "PNG"):
                file = io.BytesIO()
                image.save(file, form, exif=exif)
                expected = ImageOps.exif_transpose(Image.open(file)).size
                self.assertEqual(_size.upright_size(file.getvalue()), expected, (orientation, form))
        for form in ("BMP", "PPM"):
            file = io.BytesIO()
            image.save(file, form)
            self.assertEqual(_size.upright_size(file.getvalue()), (60, 40), form)
        whole = Path(STREET).read_bytes()
        sizes = {_size.upright_size(whole[:end]) for end in range(0, 2000, 7)}
        self.assertEqual(sizes, {None, _size.upright_size(whole)})


class Package(unittest.TestCase):
    def test_documentation_says_what_happens(self) -> None:
        modules = ["lightcap", *(f"lightcap.{path.stem}" for path in Path(lightcap.__file__).parent.glob("_[a-z]*.py"))]
        tried = 0
        folder = os.getcwd()
        os.chdir(PICTURES)
        try:
            with lightcap.demo() as model:
                for name in modules:
                    done = doctest.testmod(importlib.import_module(name), extraglobs={"model": model})
                    self.assertEqual(done.failed, 0, name)
                    tried += done.attempted
            readme = HERE.parent / "README.md"
            done = doctest.testfile(str(readme), module_relative=False)
            self.assertEqual(done.failed, 0)
        finally:
            os.chdir(folder)
        self.assertGreaterEqual(tried, 6)
        self.assertGreaterEqual(done.attempted, 5)

    def test_structs_are_the_headers(self) -> None:
        if layout_program is None:
            self.skipTest("--layout was not given")
        lines = subprocess.run([layout_program], capture_output=True, check=True, text=True).stdout.splitlines()
        found = {name: int(number) for name, number in (line.split() for line in lines)}
        structs = {"model_options": _library.ModelOptions, "session_options": _library.SessionOptions,
                   "caption_options": _library.CaptionOptions, "concept": _library.ConceptStruct,
                   "timings": _library.TimingsStruct, "hypothesis": _library.HypothesisStruct,
                   "result": _library.ResultStruct}  # fmt: skip
        for name, struct in structs.items():
            offsets = {f"lightcap_{name}.{field}": getattr(struct, field).offset for field, _ in struct._fields_}
            self.assertEqual({field: found[field] for field in offsets}, offsets)
            size = found[f"lightcap_{name}"]
            if name == "timings":  # which lies in another
                self.assertEqual(ctypes.sizeof(struct), size, name)
            else:
                self.assertLessEqual(ctypes.sizeof(struct), size, name)

    def test_programs_are_those_of_the_engine(self) -> None:
        def run(*arguments: str) -> subprocess.CompletedProcess[str]:
            return subprocess.run([sys.executable, "-m", "lightcap", *arguments], capture_output=True, text=True)

        self.assertIn(f"lightcap {lightcap.__version__}\n", run("--version").stdout)
        done = run("caption", ROOM)
        self.assertEqual((done.returncode, done.stdout), (0, SAID + "\n"), done.stderr)
        self.assertEqual(run("caption", "missing.png").returncode, 1)
        self.assertEqual(run("--nonsense").returncode, 2)
        convert = [sys.executable, "-c", "from lightcap._programs import lightcap_convert; lightcap_convert()", "--help"]
        self.assertIn("--lightcap", subprocess.run(convert, capture_output=True, check=True, text=True).stdout)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--layout"]:
        layout_program = sys.argv[2]
        del sys.argv[1:3]
    unittest.main(verbosity=2)
