"""The `lightcap` command line with files, names and places that are not friendly: models whose texts a
terminal would obey, texts of any size, full disks, outputs that are inputs, pipes, missing threads.

Usage: cli_hostile_test.py LIGHTCAP MODEL.lcw IMAGE    (standard library only)
"""

import json
import os
import resource
import shutil
import struct
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

from lcw_file import STRING, STRINGS, LcwFile

LIGHTCAP, MODEL, IMAGE = sys.argv[1:4]
EMULATOR = os.environ.get("LIGHTCAP_EMULATOR", "").split()
DEMO = Path(__file__).resolve().parent.parent / "models/demo"
SPECIAL = [b"[PAD]", b"[UNK]", b"[CLS]", b"[SEP]", b"[MASK]"]
# A window's title, a colour, a line of another picture; DEL, C1's CSI, an override of direction.
HOSTILE = b"\x1b]0;owned\x07\x1b[31m\nother.jpg: a forged line\r\x7f\xc2\x9b2J\xe2\x80\xae"
NOT_UTF8 = HOSTILE + b"\xff"


def run(*arguments, program=LIGHTCAP, text=True, environment=None, **options):
    """Exit code, stdout, stderr."""
    done = subprocess.run([*EMULATOR, program, *map(os.fsencode, map(str, arguments))], capture_output=True,
                          env=os.environ | (environment or {}), timeout=300, **options)
    if not text:
        return done.returncode, done.stdout, done.stderr
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def obeyed(text):
    """The characters of a text that a terminal does more with than show them, line ends left out."""
    return {c for c in text if ord(c) < 32 and c != "\n" or 0x7F <= ord(c) < 0xA0
            or 0x2028 <= ord(c) <= 0x202E or 0x2066 <= ord(c) <= 0x2069}


def png_size(path):
    return struct.unpack(">II", Path(path).read_bytes()[16:24])


class InFolder(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def model(self, change):
        file = LcwFile(MODEL)
        change(file)
        path = self.folder / "changed.lcw"
        file.write(path)
        return path

    def with_words(self, word):
        """The model with other words: word(i) for the i-th that can be generated."""
        def change(file):
            words = file.value(b"vocabulary")
            file.set(b"vocabulary", STRINGS,
                     [w if w in SPECIAL else word(i) for i, w in enumerate(words)])
        return self.model(change)


class Texts(InFolder):
    """Nothing that a file says is obeyed by a terminal or passes for a line of ours."""

    def test_captions_are_shown_escaped(self):
        model = self.with_words(lambda i: HOSTILE + b"%d" % i)
        code, out, err = run("caption", "--model", model, IMAGE, IMAGE)
        self.assertEqual((code, err), (0, ""))
        self.assertEqual([line.startswith(IMAGE + ": ") for line in out.splitlines()], [True, True])
        self.assertEqual(obeyed(out), set())
        self.assertIn("\\x1b]0;owned\\x07\\x1b[31m\\nother.jpg: a forged line", out)

    def test_json_says_the_same_and_stays_json(self):
        def change(file):
            words = file.value(b"vocabulary")
            file.set(b"vocabulary", STRINGS,
                     [w if w in SPECIAL else HOSTILE + b"%d" % i for i, w in enumerate(words)])
            file.set(b"labels", STRINGS, [HOSTILE + label for label in file.value(b"labels")])
        code, out, err = run("caption", "--model", self.model(change), "--json", IMAGE, IMAGE)
        self.assertEqual((code, err), (0, ""))
        self.assertEqual(obeyed(out), set())
        shown = HOSTILE.decode()
        for line in map(json.loads, out.splitlines()):
            self.assertIn(shown, line["caption"])
            for concept in line["concepts"]:
                self.assertTrue(concept["label"].startswith(shown))

    def test_names_of_pictures_forge_no_lines(self):
        name = "a\nb.png: forged\x1b[2J.png"
        shutil.copy(IMAGE, self.folder / name)
        (self.folder / ("bad" + name)).write_bytes(b"no picture\n")
        code, out, err = run("caption", "--model", MODEL, self.folder)
        self.assertEqual(code, 1)
        self.assertEqual(len(out.splitlines()), 1)
        self.assertEqual(len(err.splitlines()), 1)
        self.assertEqual(obeyed(out + err), set())
        self.assertIn("a\\nb.png: forged\\x1b[2J.png: ", out)

    def test_names_in_errors_are_escaped(self):
        def change(file):
            file.tensors[3][0] = b"\x1b[31m\nlightcap: all is well"
        for arguments in (("caption", "--model", self.model(change), IMAGE), ("inspect", self.model(change)),
                          ("caption", "--model", "no\x1b[31m\nsuch.lcw", IMAGE), ("caption", "--\x1b[31m")):
            code, out, err = run(*arguments)
            self.assertIn(code, (2, 3))
            self.assertEqual((out, obeyed(err), len(err.splitlines())), ("", set(), 1), err)

    def test_inspect_shows_any_text(self):
        model = self.model(lambda file: (file.set(b"producer", STRING, NOT_UTF8),
                                         file.set(b"licenses", STRINGS, [b"\xff\xfe", HOSTILE])))
        code, out, err = run("inspect", model)
        self.assertEqual((code, err), (0, ""))
        self.assertEqual(obeyed(out), set())
        self.assertNotIn("\nother.jpg", out)
        code, out, err = run("inspect", model, "--json")
        self.assertEqual((code, err), (0, ""))
        self.assertEqual(obeyed(out), set())
        self.assertEqual(json.loads(out)["key_values"]["producer"], NOT_UTF8.decode(errors="replace"))

    def test_inspect_takes_time_proportional_to_the_keys(self):
        def change(file):
            file.keys += [[b"key.%d" % i, STRING, b""] for i in range(150_000)]
        model = self.model(change)
        before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
        code, out, err = run("inspect", model, "--json")
        if code == 3:
            self.assertIn("limit", err)  # such a model may be refused as a whole
        else:
            self.assertEqual((code, err), (0, ""))
            self.assertEqual(json.loads(out)["key_values"]["key.149999"], "")
        self.assertLess(resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before, 4)


class Annotate(InFolder):
    def wide_picture(self):
        path = self.folder / "wide.pgm"
        path.write_bytes(b"P5 16384 64 255\n" + bytes(16384 * 64))
        return path

    def test_long_words_and_large_pictures_make_a_picture_of_bounded_size(self):
        out = self.folder / "seen.png"
        for word in (b"M" * 900, b"M M" * 300):
            model = self.with_words(lambda i, word=word: word + b"%d" % i)
            code, _, err = run("caption", "--model", model, "--annotate", out, self.wide_picture())
            self.assertEqual((code, err), (0, ""))
            width, height = png_size(out)
            self.assertEqual(width, 4096)
            self.assertLess(height, 4096)

    def test_an_old_picture_outlives_a_full_disk(self):
        out = self.folder / "seen.png"
        out.write_bytes(b"the old one")

        def small_files_only():
            resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))

        code, _, err = run("caption", "--model", MODEL, "--annotate", out, IMAGE, preexec_fn=small_files_only)
        self.assertEqual(code, 7)
        self.assertIn("seen.png: cannot write", err)
        self.assertEqual(out.read_bytes(), b"the old one")
        self.assertEqual([path.name for path in self.folder.iterdir()], ["seen.png"])

    def test_pipes_and_devices_are_written_to(self):
        reading, writing = os.pipe()
        process = subprocess.Popen([*EMULATOR, LIGHTCAP, "caption", "--model", MODEL, "--annotate",
                                    f"/dev/fd/{writing}", IMAGE], pass_fds=[writing],
                                   stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        os.close(writing)
        with open(reading, "rb") as pipe:
            self.assertEqual(pipe.read()[:8], b"\x89PNG\r\n\x1a\n")
        self.assertEqual((process.communicate(timeout=300)[1], process.returncode), ("", 0))
        if os.path.exists("/dev/full"):
            code, _, err = run("caption", "--model", MODEL, "--annotate", "/dev/full", IMAGE)
            self.assertEqual(code, 7)
            self.assertIn("/dev/full: cannot write", err)

    def test_inputs_are_not_replaced(self):
        picture, model = self.folder / "picture.png", self.folder / "model.lcw"
        shutil.copy(IMAGE, picture)
        shutil.copy(MODEL, model)
        os.symlink(picture, self.folder / "symbolic.png")
        os.link(picture, self.folder / "hard.png")
        for name in ("picture.png", "symbolic.png", "hard.png", "model.lcw"):
            code, out, err = run("caption", "--model", model, "--annotate", self.folder / name, picture)
            self.assertEqual((code, out), (2, ""))
            self.assertIn("is also an input", err)
        with open(picture, "rb") as given:
            self.assertEqual(run("caption", "--model", model, "--annotate", picture, "-", stdin=given)[0], 2)
        self.assertEqual(run("bench", "--model", model, "--profile", "--repeat", "1", "--chrome-trace", picture,
                             picture)[0], 2)
        self.assertEqual(picture.read_bytes(), Path(IMAGE).read_bytes())
        self.assertEqual(model.read_bytes(), Path(MODEL).read_bytes())


class Streams(InFolder):
    def test_every_command_fails_where_stdout_is_full_or_closed(self):
        if not os.path.exists("/dev/full"):
            self.skipTest("no /dev/full here")
        for arguments in (["--help"], ["--version"], ["caption", "--help"], ["inspect", "--help"],
                          ["caption", "--model", MODEL, IMAGE], ["caption", "--model", MODEL, "--json", IMAGE],
                          ["inspect", MODEL], ["inspect", MODEL, "--json"],
                          ["bench", "--model", MODEL, "--repeat", "1"]):
            for redirection in (">/dev/full", ">&-"):
                done = subprocess.run(["sh", "-c", f'exec "$@" {redirection}', "sh", *EMULATOR, LIGHTCAP,
                                       *arguments], stderr=subprocess.PIPE, text=True, timeout=300)
                self.assertEqual(done.returncode, 7, (arguments, redirection, done.stderr))
                self.assertIn("standard output", done.stderr)

    def test_no_file_takes_the_number_of_a_closed_stream(self):
        out = self.folder / "seen.png"
        done = subprocess.run(["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *EMULATOR, LIGHTCAP, "caption", "--model",
                               MODEL, "--annotate", out, IMAGE, "--json"], timeout=300)
        self.assertEqual(done.returncode, 7)
        self.assertEqual(out.read_bytes()[-8:-4], b"IEND")

    def test_pictures_come_from_pipes_and_standard_input(self):
        picture = Path(IMAGE).read_bytes()
        expected = run("caption", "--model", MODEL, IMAGE)
        for name in ("-", "/dev/stdin", "/dev/fd/0"):
            done = run("caption", "--model", MODEL, name, input=picture, text=False)
            self.assertEqual((done[0], done[1].decode()), expected[:2], done[2])
            with open(IMAGE, "rb") as given:
                self.assertEqual(run("caption", "--model", MODEL, name, stdin=given), expected)
        code, out, _ = run("caption", "--model", MODEL, "--json", IMAGE, "-", input=picture, text=False)
        lines = [json.loads(line) for line in out.splitlines()]
        self.assertEqual((code, [line["image"] for line in lines]), (0, [IMAGE, "-"]))
        self.assertEqual(lines[0]["caption"], lines[1]["caption"])
        self.assertGreater(lines[1]["timings_ms"]["read_image"], 0)
        self.assertGreater(lines[1]["timings_ms"]["total"], lines[1]["timings_ms"]["read_image"])
        done = subprocess.run(["bash", "-c", '"$@" <(cat "$0")', IMAGE, *EMULATOR, LIGHTCAP, "caption", "--model", MODEL],
                              capture_output=True, text=True, timeout=300)
        self.assertEqual((done.returncode, done.stdout), expected[:2], done.stderr)
        self.assertEqual(run("bench", "--model", MODEL, "--repeat", "1", "-", input=picture, text=False)[0], 0)

    def test_a_fifo_is_waited_for(self):
        fifo = self.folder / "fifo.png"
        os.mkfifo(fifo)
        reader = subprocess.Popen([*EMULATOR, LIGHTCAP, "caption", "--model", MODEL, fifo], text=True,
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        with open(fifo, "wb") as writer:
            writer.write(Path(IMAGE).read_bytes())
        out, err = reader.communicate(timeout=300)
        self.assertEqual((reader.returncode, out, err), run("caption", "--model", MODEL, IMAGE))

    def test_what_is_no_picture_is_named(self):
        code, _, err = run("caption", "--model", MODEL, "-", input=b"", text=False)
        self.assertEqual((code, err), (1, b"lightcap: standard input: the file is empty\n"))
        code, _, err = run("caption", "--model", MODEL, "-", "-", input=b"", text=False)
        self.assertEqual(code, 2)
        self.assertIn(b"once", err)
        code, _, err = run("caption", "--model", MODEL, "/dev/zero")
        self.assertEqual(code, 1)
        self.assertIn("/dev/zero: the picture has more than 268435456 bytes", err)
        self.assertEqual(run("caption", "--model", "/dev/stdin", IMAGE)[0], 3)

    def test_the_limit_on_pixels_can_be_moved(self):
        large = self.folder / "large.pgm"
        large.write_bytes(b"P5 10000 10800 255\n")  # without its pixels: what is looked at first shows
        small = self.folder / "small.pgm"
        small.write_bytes(b"P5 10 10 255\n" + bytes(100))
        code, _, err = run("caption", "--model", MODEL, large)
        self.assertEqual(code, 1)
        self.assertIn("67108864", err)
        code, _, err = run("caption", "--model", MODEL, "--max-pixels", "108000000", large)
        self.assertEqual(code, 1)
        self.assertIn("cut short", err)
        code, _, err = run("caption", "--model", MODEL, "--max-pixels", "99", small)
        self.assertEqual(code, 1)
        self.assertIn("99", err)
        self.assertEqual(run("caption", "--model", MODEL, "--max-pixels", "100", small)[0], 0)
        for wrong in ("0", "-1", "many", "268435457"):
            self.assertEqual(run("caption", "--model", MODEL, "--max-pixels", wrong, small)[0], 2)


class Folders(InFolder):
    def setUp(self):
        super().setUp()
        for name in ("b.png", "inner/deep/a.png", "inner/c.png", "other/notes.txt"):
            (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(IMAGE, self.folder / name)

    def captioned(self, *arguments):
        code, out, err = run("caption", "--model", MODEL, "--json", *arguments)
        lines = [json.loads(line) for line in out.splitlines()]
        return code, [os.path.relpath(line["image"], self.folder) for line in lines if "caption" in line], err

    def test_skipped_sub_folders_are_counted(self):
        code, names, err = self.captioned(self.folder)
        self.assertEqual((code, names), (0, ["b.png"]))
        self.assertRegex(err, r"^lightcap: .*: 2 sub-folders skipped; -r .*\n$")
        code, names, err = self.captioned(self.folder / "inner")
        self.assertEqual((code, names), (0, ["inner/c.png"]))
        self.assertIn("1 sub-folder skipped", err)

    def test_recursion_finds_every_picture_once(self):
        everything = ["b.png", "inner/c.png", "inner/deep/a.png"]
        for option in ("-r", "--recursive"):
            self.assertEqual(self.captioned(option, self.folder), (0, everything, ""))
        os.symlink("..", self.folder / "inner/loop")
        code, names, err = self.captioned("-r", self.folder)
        self.assertEqual((code, names), (0, everything))
        self.assertRegex(err, r"^lightcap: .*: 1 link to folders skipped\n$")
        code, names, err = self.captioned("-r", self.folder / "other")
        self.assertEqual((code, names), (1, []))
        self.assertIn("holds no pictures", err)

    def test_a_folder_that_cannot_be_listed_is_an_error(self):
        if os.geteuid() == 0:
            self.skipTest("root may list any folder")
        (self.folder / "inner").chmod(0)
        code, names, err = self.captioned("-r", self.folder)
        (self.folder / "inner").chmod(0o755)
        self.assertEqual((code, names), (1, ["b.png"]))
        self.assertIn("inner: cannot list the folder", err)


class Places(InFolder):
    """The demo model is found from wherever the program was built, installed or moved to."""

    def setUp(self):
        super().setUp()
        if EMULATOR:
            self.skipTest("what /proc/self/exe is, the emulator decides")

    def program(self, place):
        path = self.folder / place
        path.parent.mkdir(parents=True)
        shutil.copy(LIGHTCAP, path)
        return path

    def caption(self, program):
        return run("caption", DEMO / "pictures/night.png", program=program, environment={"LIGHTCAP_MODEL": ""},
                   cwd=self.folder)

    def test_beside_it_in_share_or_a_folder_up(self):
        for program, model in (("a/lightcap", "a/scenes.lcw"),
                               ("b/bin/lightcap", "b/share/lightcap/scenes.lcw"),
                               ("c/Release/lightcap", "c/scenes.lcw")):
            path = self.program(program)
            self.assertEqual(self.caption(path)[0], 3)
            (self.folder / model).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(DEMO / "scenes.lcw", self.folder / model)
            os.symlink(path, self.folder / "link")
            for name in (path, self.folder / "link"):
                code, out, err = self.caption(name)
                self.assertEqual((code, out), (0, "two yellow cars under a small moon at night\n"), err)
            (self.folder / "link").unlink()


class Threads(unittest.TestCase):
    def test_where_threads_cannot_start_there_are_fewer(self):
        def two_threads_at_most():
            resource.setrlimit(resource.RLIMIT_STACK, (1 << 30, resource.RLIM_INFINITY))
            resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))

        if EMULATOR or run("--version", preexec_fn=two_threads_at_most)[0] != 0:
            self.skipTest("the program itself needs more address space")
        images = [IMAGE] * 8
        code, out, err = run("caption", "--model", MODEL, "--threads", "8", *images, preexec_fn=two_threads_at_most)
        self.assertEqual(code, 0, err)
        self.assertEqual(out, run("caption", "--model", MODEL, *images)[1])
        self.assertRegex(err, r"^lightcap: captioning \d pictures at a time, not 8: cannot start more threads: .*\n$")


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
