"""`lightcap caption` for libraries of photographs: lists, shards, runs that are killed, sidecars.

Usage: cli_library_test.py LIGHTCAP MODEL.lcw IMAGE    (standard library only)
"""

import contextlib
import fcntl
import json
import os
import pty
import random
import resource
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import zlib
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

LIGHTCAP, MODEL, IMAGE = map(os.path.abspath, sys.argv[1:4])
EMULATOR = os.environ.get("LIGHTCAP_EMULATOR", "").split()
COMMAND = [*EMULATOR, LIGHTCAP, "caption", "--model", MODEL]


def run(*arguments, **options):
    """Exit code, stdout, stderr."""
    done = subprocess.run([*COMMAND, *map(str, arguments)], capture_output=True, text=True, timeout=300,
                          **options)
    return done.returncode, done.stdout, done.stderr


def png(width, height, rows):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + row for row in rows), 1)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def picture(number):
    """A small picture that no other number has."""
    colors = random.Random(number).randbytes(3 * 12)
    return png(12, 8, [colors[row:] + colors[:row] for row in range(8)])


def broken(number):
    kinds = [b"", b"not a picture", picture(number)[:-20], png(30000, 30000, []), b"\xff\xd8\xff" + bytes(40)]
    return kinds[number % len(kinds)]


def lines_of(text):
    lines = [json.loads(line) for line in text.splitlines()]
    for line in lines:
        line.pop("timings_ms", None)
    return lines


class Folder(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def library(self, count, bad=()):
        """Pictures in folders of years and months; those whose numbers are `bad` are broken."""
        root = self.folder / "album"
        for number in range(count):
            path = root / str(2000 + number % 5) / f"{number % 12:02}" / f"p{number:04}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(broken(number) if number in bad else picture(number))
        return root

    def pictures(self, count):
        return sorted(self.library(count).rglob("*.png"))


class Lists(Folder):
    def test_name_files_a_line_or_a_nul_each(self):
        paths = [str(path) for path in self.pictures(3)]
        strange = self.folder / "a*b [c]\n.png"
        strange.write_bytes(picture(7))
        for separator, names in (("\n", paths), ("\0", [*paths, str(strange)])):
            flags = ["-0"] if separator == "\0" else []
            text = separator.join(names)
            lists = self.folder / "list"
            for ending in ("", separator, separator * 2):
                lists.write_text(text + ending)
                code, out, err = run("--json", *flags, "--files-from", lists)
                self.assertEqual((code, err, [line["image"] for line in lines_of(out)]), (0, "", names))
            code, out, err = run("--json", *flags, "--files-from", "-", input=text)
            self.assertEqual((code, err, [line["image"] for line in lines_of(out)]), (0, "", names))
        code, out, err = run("--json", "--files-from", lists)
        self.assertEqual((code, out), (1, ""))
        self.assertIn("-0 is for lists", err)

    def test_are_read_as_they_are(self):
        (self.folder / "-").write_bytes(picture(1))
        names = ["*.png", "-", "missing.png", "album", IMAGE]
        self.pictures(2)
        code, out, err = run("--json", "--files-from", "-", input="\n".join(names), cwd=self.folder)
        lines = lines_of(out)
        self.assertEqual([line["image"] for line in lines], ["*.png", "./-", *names[2:]])
        self.assertEqual(["caption" in line for line in lines], [False, True, False, False, True])
        self.assertEqual((code, err.count("lightcap: ")), (1, 3))
        self.assertEqual(run("--files-from", "-", input=""), (0, "", ""))

    def test_wrong_arguments_are_refused(self):
        self.assertEqual(run()[0], 2)
        self.assertIn("IMAGE is required", run()[2])
        for arguments in (["--files-from", "-", "-"], ["-0", IMAGE], ["--resume", IMAGE], ["--shard", "0/2", IMAGE],
                          ["--shard", "3/2", IMAGE], ["--shard", "1/2x", IMAGE], ["--shard", "1", IMAGE],
                          ["--sidecar", "xmp", "-"], ["--sidecar", "txt", IMAGE]):  # fmt: skip
            self.assertEqual(run(*arguments)[0], 2, arguments)
        self.assertEqual(run("--files-from", self.folder / "none")[0], 1)

    def test_are_divided_into_shards_that_do_not_move(self):
        paths = self.pictures(40)
        parts = [lines_of(run("--json", "--shard", f"{i}/3", "-r", self.folder / "album")[1]) for i in (1, 2, 3)]
        images = [[line["image"] for line in part] for part in parts]
        self.assertEqual(sorted(sum(images, [])), [str(path) for path in paths])
        self.assertTrue(all(5 <= len(part) <= 22 for part in images), [len(part) for part in images])
        paths[0].unlink()
        again = lines_of(run("--json", "--shard", "2/3", "-r", self.folder / "album")[1])
        self.assertEqual([line["image"] for line in again], [name for name in images[1] if name != str(paths[0])])


class Outputs(Folder):
    def setUp(self):
        super().setUp()
        self.output = self.folder / "results.jsonl"

    def test_hold_the_lines_of_json(self):
        paths = [*self.pictures(4), self.folder / "missing.png"]
        _, plain, plain_err = run("--json", *paths)
        code, out, err = run("--output", self.output, *paths)
        self.assertEqual((code, out, err), (1, "", plain_err))
        self.assertEqual(lines_of(self.output.read_text()), lines_of(plain))

    def test_are_never_lost_to_a_second_run(self):
        first, second = self.pictures(2)
        run("--output", self.output, first)
        held = self.output.read_bytes()
        code, _, err = run("--output", self.output, second)
        self.assertEqual((code, self.output.read_bytes()), (2, held))
        self.assertIn("--resume goes on with it", err)
        run("--output", self.output, "--overwrite", second)
        self.assertEqual([line["image"] for line in lines_of(self.output.read_text())], [str(second)])
        for text in ("", "a text\nof somebody", "\0\0\0 ftyp", "{\0 }", "text", '{"image": 1}\n', "[1]\n", '{"other": "p"}\n', '{"image":"a"}\n[]\n'):
            self.output.write_text(text)
            code, _, err = run("--output", self.output, "--resume", first)
            self.assertEqual(code, 2 if text else 0, text)
            if text:
                self.assertIn("other things than lines", err)
                self.assertEqual(self.output.read_text(), text)
        copy = self.folder / "copy.png"
        shutil.copy(first, copy)
        for arguments in (["--output", copy, "--overwrite", copy], ["--output", "/dev/null", first]):
            self.assertEqual(run(*arguments)[0], 2, arguments)
        self.assertEqual(copy.read_bytes(), first.read_bytes())

    def test_resume_from_wherever_they_were_cut(self):
        # Twice the same picture, a broken one, and one whose name is not UTF-8.
        strange = os.fsencode(self.folder) + b"/\xff.png"
        Path(os.fsdecode(strange)).write_bytes(picture(1))
        paths = [*self.pictures(3), self.folder / "missing.png", os.fsdecode(strange)]
        paths.insert(2, paths[0])
        command = [os.fsencode(str(part)) for part in [*COMMAND, "--output", self.output, "--resume", *paths]]
        subprocess.run(command, capture_output=True, timeout=300)
        whole = self.output.read_bytes()
        lines = whole.splitlines(keepends=True)
        self.assertEqual(len(lines), 6)
        ends = {sum(map(len, lines[:count])) for count in range(7)}
        cuts = sorted({0, 1, 8, 9, 10, len(whole) - 1, *ends, *random.Random(1).sample(range(len(whole)), 6)})
        for cut in cuts:
            for lost in (b"", bytes(100)):  # as after a power cut
                self.output.write_bytes(whole[:cut] + (lost if cut not in ends or cut < len(whole) else b""))
                done = subprocess.run(command, capture_output=True, timeout=300)
                result = self.output.read_bytes()
                kept = sum(end <= cut for end in ends) - 1
                self.assertTrue(result.startswith(b"".join(lines[:kept])), cut)
                self.assertEqual(lines_of(result.decode()), lines_of(whole.decode()), cut)
                self.assertEqual(done.returncode, 1 if kept <= 4 else 0, (cut, done.stderr))
        self.assertIn(b"6 of 6 pictures have their line", done.stderr)

    def test_belong_to_one_program_at_a_time(self):
        with self.output.open("w") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            code, _, err = run("--output", self.output, "--resume", IMAGE)
        self.assertEqual(code, 2)
        self.assertIn("another program", err)

    def test_on_a_full_disk_fail_and_can_be_resumed(self):
        paths = self.pictures(4)
        limit = 2 * len(run("--json", paths[0])[1]) - 100
        code, _, err = run("--output", self.output, *paths,
                           preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)))
        self.assertEqual(code, 7)
        self.assertIn("cannot write", err)
        self.assertEqual(run("--output", self.output, "--resume", *paths)[0], 0)
        self.assertEqual([line["image"] for line in lines_of(self.output.read_text())], list(map(str, paths)))

    def test_of_a_thousand_pictures_survive_kills(self):
        bad = set(random.Random(3).sample(range(1000), 20))
        album = self.library(1000, bad)
        command = [*COMMAND, "-r", "--output", self.output, "--resume", "--threads", "2", album]
        kills = random.Random(4)
        for goal in sorted(kills.sample(range(50, 900), 4)):
            with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as running:
                while running.poll() is None and self.lines_so_far() < goal:
                    time.sleep(0.01)
                self.assertIsNone(running.poll(), "it was over before it could be killed")
                time.sleep(kills.random() / 100)
                running.send_signal(signal.SIGKILL)
        self.assertLess(self.lines_so_far(), 1000)
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        self.assertIn("pictures have their line", done.stderr)
        lines = lines_of(self.output.read_text())
        self.assertEqual([line["image"] for line in lines], sorted(map(str, album.rglob("*.png"))))
        self.assertEqual({int(Path(line["image"]).stem[1:]) for line in lines if "error" in line}, bad)
        # Those of the plain command line, for a part of them.
        part = [line for number, line in enumerate(lines) if number % 10 == 0 or "error" in line]
        plain = run("--json", "--files-from", "-", input="\n".join(line["image"] for line in part))
        self.assertEqual(lines_of(plain[1]), part)
        self.assertGreater(len(Counter(json.dumps(line.get("tokens")) + str(line.get("score")) for line in lines)), 500)

    def lines_so_far(self):
        with contextlib.suppress(FileNotFoundError):
            return self.output.read_bytes().count(b"\n")
        return 0


class Streams(Folder):
    """Pipes that do not wait, as programs leave them that share theirs with others."""

    def test_that_are_slow_lose_no_line(self):
        paths = [*self.pictures(60), *(self.folder / f"missing{number}" for number in range(60))]
        reading, writing = os.pipe()
        self.addCleanup(os.close, reading)
        os.set_blocking(writing, False)
        fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
        with subprocess.Popen([*COMMAND, "--json", *paths], stdout=writing, stderr=writing) as running:
            os.close(writing)
            text = b""
            while part := os.read(reading, 2048):
                text += part
                time.sleep(0.002)
                if len(text) % 5 == 0:
                    running.send_signal(signal.SIGSTOP)
                    time.sleep(0.001)
                    running.send_signal(signal.SIGCONT)
        self.assertEqual(running.returncode, 1)
        # A line is written as a whole, and none but lines of results begin like this.
        out = "\n".join(line for line in text.decode().splitlines() if line.startswith("{"))
        self.assertEqual([line["image"] for line in lines_of(out)], list(map(str, paths)))
        self.assertEqual(text.count(b"cannot open the file"), 2 * 60)  # in words, and as JSON

    def test_that_have_nothing_yet_are_waited_for(self):
        paths = self.pictures(2)
        reading, writing = os.pipe()
        os.set_blocking(reading, False)
        with subprocess.Popen([*COMMAND, "--json", "--files-from", "-"], stdin=reading, stdout=subprocess.PIPE,
                              text=True) as running:  # fmt: skip
            os.close(reading)
            for path in paths:
                time.sleep(0.05)
                os.write(writing, f"{path}\n".encode())
            os.close(writing)
            self.assertEqual([line["image"] for line in lines_of(running.stdout.read())], list(map(str, paths)))
        self.assertEqual(running.returncode, 0)


class Sidecars(Folder):
    SPACES = {"rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#", "dc": "http://purl.org/dc/elements/1.1/",
              "x": "adobe:ns:meta/"}  # fmt: skip

    def test_have_the_caption_and_the_concepts(self):
        path = self.folder / "photo.jpg"
        shutil.copy(IMAGE, path)
        code, out, err = run("--json", "--sidecar", "xmp", path, self.folder / "missing.png")
        self.assertEqual(code, 1)
        line = lines_of(out)[0]
        text = (self.folder / "photo.jpg.xmp").read_text()
        self.assertTrue(text.startswith('<?xpacket begin="\ufeff"'))
        tree = ElementTree.fromstring(text)
        [description] = tree.findall("rdf:RDF/rdf:Description/dc:description/rdf:Alt/rdf:li", self.SPACES)
        self.assertEqual(description.text, line["caption"])
        self.assertEqual(description.get("{http://www.w3.org/XML/1998/namespace}lang"), "x-default")
        subjects = tree.findall("rdf:RDF/rdf:Description/dc:subject/rdf:Bag/rdf:li", self.SPACES)
        self.assertEqual([subject.text for subject in subjects],
                         list(dict.fromkeys(concept["label"] for concept in line["concepts"])))  # fmt: skip
        self.assertEqual(sorted(entry.name for entry in self.folder.iterdir()), ["photo.jpg", "photo.jpg.xmp"])

    def test_are_never_replaced_unless_told(self):
        paths = self.pictures(3)
        sidecar = Path(f"{paths[1]}.xmp")
        sidecar.write_text("mine")
        code, _, err = run("--sidecar", "xmp", "-r", self.folder)
        self.assertEqual((code, sidecar.read_text()), (0, "mine"))
        self.assertIn("1 sidecar exists already", err)
        self.assertTrue(all(Path(f"{path}.xmp").exists() for path in paths))
        code, _, err = run("--sidecar", "xmp", "--overwrite", "-r", self.folder)
        self.assertEqual((code, err), (0, ""))
        self.assertIn("dc:description", sidecar.read_text())

    def test_go_with_runs_that_resume(self):
        paths = self.pictures(2)
        output = self.folder / "results.jsonl"
        for arguments in ([paths[0]], ["--resume", *paths]):
            self.assertEqual(run("--output", output, "--sidecar", "xmp", *arguments), (0, "", "") if len(arguments) == 1
                             else (0, "", f"lightcap: 1 of 2 pictures have their line in {output} already\n"))
        self.assertTrue(all(Path(f"{path}.xmp").exists() for path in paths))


class Progress(Folder):
    def test_has_a_rate_and_the_time_left_on_a_terminal(self):
        # A picture from a pipe, so that it comes when a second is over.
        slow = self.folder / "slow.png"
        os.mkfifo(slow)
        feeding = threading.Timer(1.1, slow.write_bytes, [picture(1)])
        feeding.start()
        main, other = pty.openpty()
        paths = self.pictures(5)
        with subprocess.Popen([*COMMAND, "--output", self.folder / "out", *paths, slow, *paths], stderr=other,
                              stdout=subprocess.PIPE) as running:  # fmt: skip
            os.close(other)
            shown = b""
            with contextlib.suppress(OSError):  # a terminal that nobody writes to any more ends in an error
                while part := os.read(main, 65536):
                    shown += part
        os.close(main)
        feeding.join()
        self.assertEqual(running.returncode, 0)
        self.assertRegex(shown.decode(), r"\r\[#*\.*\] \d+/11 pictures, \d\.\d/s, \d s left")
        self.assertTrue(shown.decode().endswith("\x1b[K"))


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[4:]], verbosity=2)
