"""The `lightcap` command line as other programs use it: output, exit codes, messages.

Usage: cli_test.py LIGHTCAP MODEL.lcw IMAGE    (standard library only)
"""

import contextlib
import json
import os
import pty
import struct
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

LIGHTCAP, MODEL, IMAGE = sys.argv[1:4]
EMULATOR = os.environ.get("LIGHTCAP_EMULATOR", "").split()
STAGES = ["read_image", "preprocess", "detector", "image_encoder", "concepts", "fusion_prefix",
          "decoding", "total"]
TRACES = ["encoder_input", "detector_input", "image_features", "detections", "roi_features",
          "concept_similarity", "gate", "prefix", "log_probabilities"]


def run(*arguments, **environment):
    """Exit code, stdout, stderr."""
    done = subprocess.run([*EMULATOR, LIGHTCAP, *map(str, arguments)], capture_output=True, text=True,
                          env=os.environ | environment, timeout=300)
    return done.returncode, done.stdout, done.stderr


class Caption(unittest.TestCase):
    def test_plain(self):
        code, out, err = run("caption", "--model", MODEL, IMAGE)
        self.assertEqual((code, err), (0, ""))
        self.assertEqual(out.count("\n"), 1)
        self.assertGreater(len(out.strip()), 3)

    def test_json_has_every_field(self):
        code, out, err = run("caption", "--model", MODEL, "--json", IMAGE)
        self.assertEqual((code, err), (0, ""))
        result = json.loads(out)
        self.assertEqual(list(result), ["image", "caption", "score", "tokens", "token_log_probabilities",
                                        "concepts", "timings_ms"])
        self.assertEqual(len(result["token_log_probabilities"]), len(result["tokens"]))
        self.assertAlmostEqual(sum(result["token_log_probabilities"]) / len(result["tokens"]),
                               result["score"], places=5)
        self.assertEqual(result["image"], IMAGE)
        self.assertEqual(list(result["timings_ms"]), STAGES)
        self.assertLess(result["score"], 0)
        for concept in result["concepts"]:
            self.assertEqual(list(concept), ["label", "similarity", "score", "box"])
            self.assertEqual(len(concept["box"]), 4)
        self.assertGreater(len(result["concepts"]), 0)

    def test_n_best_captions(self):
        code, out, err = run("caption", "--model", MODEL, "--n-best", 4, "--json", IMAGE)
        self.assertEqual((code, err), (0, ""))
        result = json.loads(out)
        best = result["alternatives"]
        self.assertEqual([list(one) for one in best], [["caption", "score", "tokens"]] * 4)
        self.assertEqual({key: result[key] for key in best[0]}, best[0])
        scores = [one["score"] for one in best]
        self.assertEqual(scores, sorted(scores, reverse=True))
        self.assertEqual(len({tuple(one["tokens"]) for one in best}), 4)
        _, beams, _ = run("caption", "--model", MODEL, "--beams", 4, "--json", IMAGE)
        self.assertEqual(json.loads(beams)["tokens"], best[0]["tokens"])
        self.assertNotIn("alternatives", json.loads(beams))
        # Fewer than the search is wide, without JSON a line each.
        code, out, err = run("caption", "--model", MODEL, "--beams", 4, "--n-best", 2, IMAGE)
        self.assertEqual((code, out, err), (0, best[0]["caption"] + "\n" + best[1]["caption"] + "\n", ""))
        for wrong in (0, 33):
            self.assertEqual(run("caption", "--model", MODEL, "--n-best", wrong, IMAGE)[0], 2)

    def test_captions_that_must_contain_words(self):
        words = ["--must-contain", "poko|RAFO", "--must-contain", "tafe"]
        code, out, err = run("caption", "--model", MODEL, "--json", "--n-best", 3, *words, IMAGE)
        self.assertEqual((code, err), (0, ""))
        result = json.loads(out)
        self.assertIn(result["contains"][0], ("poko", "RAFO"))
        self.assertEqual(result["contains"][1], "tafe")
        for one in result["alternatives"]:
            self.assertIn("tafe", one["caption"])
        code, out, err = run("caption", "--model", MODEL, *words, IMAGE, IMAGE)
        self.assertEqual((code, err, out.count("tafe")), (0, "", 2))
        for wrong, message in ((["λόγος"], "no pieces for it"), (["tafe|"], "no word in it"),
                               (["tafe"] * 5, "4 words at most, not 5")):
            options = [part for word in wrong for part in ("--must-contain", word)]
            code, out, err = run("caption", "--model", MODEL, *options, IMAGE)
            self.assertEqual((code, out), (2, ""))
            self.assertIn(message, err)

    def test_the_model_may_come_from_the_environment(self):
        self.assertEqual(run("caption", IMAGE, LIGHTCAP_MODEL=MODEL)[0], 0)

    def test_bad_images_do_not_stop_the_others(self):
        code, out, err = run("caption", "--model", MODEL, "--json", "missing.png", __file__, IMAGE)
        self.assertEqual(code, 1)
        lines = [json.loads(line) for line in out.splitlines()]
        self.assertEqual([line["image"] for line in lines], ["missing.png", __file__, IMAGE])
        self.assertIn("cannot open", lines[0]["error"])
        self.assertIn("not a picture", lines[1]["error"])
        self.assertIn("caption", lines[2])
        self.assertIn("missing.png", err)

    def test_several_images_are_named(self):
        code, out, _ = run("caption", "--model", MODEL, IMAGE, IMAGE)
        self.assertEqual(code, 0)
        self.assertTrue(all(line.startswith(IMAGE + ": ") for line in out.splitlines()))
        self.assertEqual(len(out.splitlines()), 2)

    def test_folders_and_patterns(self):
        with tempfile.TemporaryDirectory() as folder:
            for name in ("b.png", "a.PNG", "c.jpeg", "notes.txt", "[1].png"):
                Path(folder, name).write_bytes(Path(IMAGE).read_bytes())
            Path(folder, "inner").mkdir()
            Path(folder, "inner", "d.png").write_bytes(b"")

            def captioned(*arguments):
                code, out, err = run("caption", "--model", MODEL, "--json", *arguments)
                lines = [json.loads(line) for line in out.splitlines()]
                return code, [Path(line["image"]).name for line in lines if "caption" in line], err

            everything = ["[1].png", "a.PNG", "b.png", "c.jpeg"]
            code, names, err = captioned(folder)
            self.assertEqual((code, names), (0, everything))
            self.assertIn("1 sub-folder skipped", err)
            self.assertEqual(captioned(folder + "/?.png"), (0, ["b.png"], ""))
            self.assertEqual(captioned(folder + "/[1].png"), (0, ["[1].png"], ""))  # a file's own name
            code, names, err = captioned(folder + "/*.gif", IMAGE, folder + "/inner/..")
            self.assertEqual((code, names), (1, [Path(IMAGE).name, *everything]))
            self.assertIn("*.gif: no file matches", err)
            Path(folder, "inner", "d.png").unlink()
            code, names, err = captioned(folder + "/inner")
            self.assertEqual((code, names), (1, []))
            self.assertIn("holds no pictures; looked for .jpg", err)

    def test_jobs_change_nothing_but_the_speed(self):
        images = [IMAGE, "missing.png", *[IMAGE] * 5, __file__, IMAGE]
        results = []
        for jobs in (1, 3, 0):
            code, out, err = run("caption", "--model", MODEL, "--json", "--threads", 3, "--jobs", jobs,
                                 *images)
            lines = [json.loads(line) for line in out.splitlines()]
            for line in lines:
                line.pop("timings_ms", None)
            results.append((code, lines, err))
        self.assertEqual([line["image"] for line in results[0][1]], images)
        self.assertEqual(results[0][0], 1)
        self.assertEqual(results[1:], results[:1] * 2)

    def test_a_terminal_gets_a_bar(self):
        main, other = pty.openpty()
        done = subprocess.run([*EMULATOR, LIGHTCAP, "caption", "--model", MODEL, IMAGE, IMAGE], stderr=other,
                              stdout=subprocess.PIPE, text=True, timeout=300)
        os.close(other)
        shown = b""
        with contextlib.suppress(OSError):  # a terminal that nobody writes to any more ends in an error
            while part := os.read(main, 65536):
                shown += part
        os.close(main)
        shown = shown.decode()
        self.assertEqual(len(done.stdout.splitlines()), 2)
        self.assertIn("] 1/2 pictures", shown)
        self.assertTrue(shown.endswith("\x1b[K"))  # and leaves the line clean

    def test_beams_and_length_penalty(self):
        plain = json.loads(run("caption", "--model", MODEL, "--json", IMAGE)[1])
        sums = json.loads(run("caption", "--model", MODEL, "--json", "--length-penalty", 0, IMAGE)[1])
        self.assertAlmostEqual(plain["score"] * len(plain["tokens"]), sums["score"], places=4)
        code, out, _ = run("caption", "--model", MODEL, "--json", "--beams", 5, IMAGE)
        self.assertEqual(code, 0)
        self.assertGreaterEqual(json.loads(out)["score"], plain["score"] - 1e-6)

    def test_threads_do_not_change_a_bit(self):
        results = []
        for threads in (1, 2, 3, 4):
            result = json.loads(run("caption", "--model", MODEL, "--json", "--threads", threads, IMAGE)[1])
            del result["timings_ms"]
            results.append(result)
        self.assertEqual(results[1:], results[:1] * 3)

    def test_low_memory_changes_no_word(self):
        plain = json.loads(run("caption", "--model", MODEL, "--json", IMAGE)[1])
        code, out, err = run("caption", "--model", MODEL, "--json", "--low-memory", IMAGE)
        self.assertEqual((code, err), (0, ""))
        self.assertEqual(json.loads(out)["tokens"], plain["tokens"])

        def peak(*options):
            result = json.loads(run("bench", "--model", MODEL, "--json", "--repeat", 1, *options)[1])
            return result["peak_bytes"]

        self.assertLessEqual(peak("--low-memory"), peak())

    def test_trace(self):
        with tempfile.TemporaryDirectory() as folder:
            code, _, err = run("caption", "--model", MODEL, "--trace", folder + "/new", IMAGE)
            self.assertEqual((code, err), (0, ""))
            files = {path.stem: path.read_bytes() for path in Path(folder, "new").iterdir()}
            self.assertEqual(sorted(files), sorted(TRACES))
            for name, data in files.items():
                self.assertEqual(data[:8], b"\x93NUMPY\x01\x00", name)
                (length,) = struct.unpack("<H", data[8:10])
                self.assertIn(b"'<f4'", data[10:10 + length])
            self.assertEqual(run("caption", "--model", MODEL, "--trace", folder, IMAGE, IMAGE)[0], 2)

    def test_annotate(self):
        with tempfile.TemporaryDirectory() as folder:
            picture = folder + "/seen.png"
            self.assertEqual(run("caption", "--model", MODEL, "--annotate", picture, IMAGE)[0], 0)
            self.assertEqual(Path(picture).read_bytes()[:8], b"\x89PNG\r\n\x1a\n")
            self.assertEqual(run("caption", "--model", MODEL, picture)[0], 0)
            self.assertEqual(run("caption", "--model", MODEL, "--annotate", "/no/folder/x.png", IMAGE)[0], 7)
            both = run("caption", "--model", MODEL, "--annotate", folder + "/both", "--output", folder + "/./both", IMAGE)
            self.assertEqual(both[0], 2)
            self.assertIn("--output and --annotate name the same file", both[2])


class Demo(unittest.TestCase):
    """The model that ships with the engine, found beside the program."""

    CAPTIONS = {
        "meadow.png": "a small purple flower under a yellow balloon in a meadow",
        "night.png": "two yellow cars under a small moon at night",
        "room.png": "a yellow cup under three small blue balloons in a room",
        "street.jpg": "three small green bridges and a small blue house and a small sun on a street",
    }

    def test_bundled_pictures(self):
        folder = Path(__file__).resolve().parent.parent / "models/demo/pictures"
        code, out, err = run("caption", folder, LIGHTCAP_MODEL="")
        self.assertEqual(code, 0)
        said = dict(line.split(": ", 1) for line in out.splitlines())
        self.assertEqual({Path(path).name: caption for path, caption in said.items()}, self.CAPTIONS)
        self.assertEqual(err.count("\n"), 1)
        self.assertIn("illustrated scenes only", err)


class Errors(unittest.TestCase):
    def expect(self, code, words, *arguments, **environment):
        actual, out, err = run(*arguments, **environment)
        self.assertEqual(actual, code, err)
        self.assertEqual(out, "")
        self.assertTrue(err.startswith("lightcap: "), err)
        self.assertIn(words, err)

    def test_usage(self):
        self.expect(2, "no command")
        self.expect(2, "--beans", "caption", "--beans", "3", IMAGE)
        self.expect(2, "IMAGE", "caption", "--model", MODEL)
        self.expect(2, "--beams", "caption", "--model", MODEL, "--beams", "0", IMAGE)
        self.expect(2, "--beams", "caption", "--model", MODEL, "--beams", "33", IMAGE)
        self.expect(2, "--exif", "caption", "--model", MODEL, "--exif", "maybe", IMAGE)

    def test_model(self):
        self.expect(3, "missing.lcw", "caption", "--model", "missing.lcw", IMAGE)
        self.expect(3, "not a LightCap model", "caption", "--model", IMAGE, IMAGE)
        self.expect(3, "not a LightCap model", "inspect", IMAGE)

    def test_instruction_set(self):
        self.expect(5, "there are: ", "caption", "--model", MODEL, IMAGE, LIGHTCAP_ISA="abacus")
        self.expect(5, "abacus", "--version", LIGHTCAP_ISA="abacus")

    def test_full_disk(self):
        if not os.path.exists("/dev/full"):
            self.skipTest("no /dev/full here")
        with open("/dev/full", "w") as full:
            done = subprocess.run([*EMULATOR, LIGHTCAP, "caption", "--model", MODEL, IMAGE], stdout=full,
                                  stderr=subprocess.PIPE, text=True, timeout=300)
        self.assertEqual(done.returncode, 7)
        self.assertIn("standard output", done.stderr)


class Others(unittest.TestCase):
    def test_version_names_instruction_sets(self):
        code, out, _ = run("--version")
        self.assertEqual(code, 0)
        self.assertRegex(out, r"lightcap \d+\.\d+\.\d+\ninstruction set: \w+\nbuilt in: \w+")
        built_in = out.split("built in:")[1].replace("(not supported here)", "*").split()
        for isa in built_in:
            if isa != "*" and built_in[(built_in.index(isa) + 1) % len(built_in)] != "*":
                self.assertIn("instruction set: " + isa, run("--version", LIGHTCAP_ISA=isa)[1])
                self.assertEqual(run("caption", "--model", MODEL, IMAGE, LIGHTCAP_ISA=isa)[0], 0)

    def test_help_shows_defaults(self):
        code, out, _ = run("caption", "--help")
        self.assertEqual(code, 0)
        for words in ("--beams", "=1", "--length-penalty", "--exif", "=apply", "--threads"):
            self.assertIn(words, out)

    def test_inspect(self):
        code, out, err = run("inspect", MODEL, "--verify", "--json")
        self.assertEqual(code, 0)
        self.assertIn("checksums match", err)
        result = json.loads(out)
        self.assertEqual(result["damaged"], [])
        words = result["key_values"]["fusion.vocabulary"], result["key_values"]["fusion.width"]
        embeddings = [t["name"] for t in result["tensors"] if t["shape"] == list(words)]
        self.assertEqual(embeddings, ["bert.embeddings.word_embeddings.weight"])
        self.assertEqual(run("inspect", MODEL)[0], 0)

    def test_inspect_finds_damage(self):
        with tempfile.TemporaryDirectory() as folder:
            damaged = bytearray(Path(MODEL).read_bytes())
            damaged[-1] ^= 1  # the last tensor's last byte
            copy = folder + "/damaged.lcw"
            Path(copy).write_bytes(damaged)
            self.assertEqual(run("inspect", copy)[0], 0)
            code, _, err = run("inspect", copy, "--verify")
            self.assertEqual(code, 9)
            self.assertIn("head.bias", err)

    def test_bench(self):
        code, out, err = run("bench", "--model", MODEL, "--repeat", 2, "--threads", 2, "--json")
        self.assertEqual((code, err), (0, ""))
        result = json.loads(out)
        self.assertEqual(list(result), ["isa", "threads", "file_bytes", "peak_bytes", "steps",
                                        "stages_ms", "step_ms", "head_ms", "caption_ms"])
        self.assertEqual(list(result["stages_ms"]), STAGES)
        for times in [*result["stages_ms"].values(), result["step_ms"], result["head_ms"]]:
            self.assertGreater(times["min"], 0)
            self.assertGreaterEqual(times["median"], times["min"])
        self.assertEqual(result["file_bytes"], os.path.getsize(MODEL))
        self.assertEqual(run("bench", "--model", MODEL, "--repeat", 1, IMAGE)[0], 0)

    def test_bench_profile(self):
        with tempfile.TemporaryDirectory() as folder:
            trace = folder + "/trace.json"
            code, out, err = run("bench", "--model", MODEL, "--repeat", 2, "--threads", 2, "--json",
                                 "--profile", "--chrome-trace", trace, IMAGE)
            self.assertEqual((code, err), (0, ""))
            events = json.loads(Path(trace).read_text())["traceEvents"]
        result = json.loads(out)
        self.assertGreater(result["peak_gflop_s"], 0)
        self.assertGreater(result["peak_gb_s"], 0)
        stages = [stage["stage"] for stage in result["stages"]]
        self.assertEqual(stages, STAGES[1:-1])  # without reading the file
        layers = result["layers"]
        order = [stages.index(layer["stage"]) for layer in layers]
        self.assertEqual(order, sorted(order))
        of_encoder = [layer for layer in layers if layer["stage"] == "image_encoder"]
        self.assertEqual(of_encoder[0]["name"], "image_encoder.conv1")
        first = of_encoder[0]
        self.assertEqual(first["flops"], 2 * first["height"] * first["width"] * first["out"]
                         * first["channels"] * first["kernel_size"] ** 2)
        filtered = [layer for layer in layers if "winograd" in layer["kernel"]]
        self.assertTrue(filtered)
        for layer in filtered:  # counts what is done, not what a direct convolution would do
            tile = 4 if layer["kernel"].startswith("winograd4") else 2
            tiles = -(-layer["height"] // tile) * -(-layer["width"] // tile)
            self.assertEqual(layer["flops"],
                             2 * tiles * (tile + 2) ** 2 * layer["channels"] * layer["out"])
        self.assertEqual({layer["calls"] for layer in of_encoder}, {1})
        steps = [layer for layer in layers if layer["kernel"] == "head_logits"][0]["calls"]
        self.assertGreater(steps, 1)
        for layer in layers:
            self.assertGreater(layer["median_us"], 0)
            self.assertAlmostEqual(layer["gflop_s"], layer["flops"] / layer["median_us"] / 1e3, 6)
        for stage in result["stages"]:
            self.assertLess(stage["layers_us"], 2 * stage["median_us"])  # medians don't add up exactly

        spans = {kind: [e for e in events if e.get("cat") == kind] for kind in ("stage", "layer", "task")}
        self.assertEqual([e["name"] for e in spans["stage"]], stages)
        self.assertEqual(len(spans["layer"]), sum(layer["calls"] for layer in layers))
        self.assertGreater(len(spans["task"]), len(spans["layer"]))
        for event in spans["layer"]:
            self.assertTrue(any(stage["ts"] <= event["ts"] and event["ts"] + event["dur"]
                                <= stage["ts"] + stage["dur"] for stage in spans["stage"]), event)
        rows = {e["tid"] for e in events if e["ph"] == "M"}
        self.assertLessEqual({e["tid"] for e in spans["task"]}, rows)
        self.assertIn(0, rows)

    def test_bench_shapes(self):
        with tempfile.TemporaryDirectory() as folder:
            self.assertEqual(run("bench", "--model", MODEL, "--shapes", folder), (0, "", ""))
            files = sorted(Path(folder).iterdir())
            self.assertEqual([file.name for file in files],
                             ["detector.txt", "encoder.txt", "fusion.txt", "head.txt"])
            for file in files:
                comment, *lines = file.read_text().splitlines()
                self.assertTrue(comment.startswith("# name kernel height"))
                self.assertGreater(len(lines), 3)
                for line in lines:
                    _, kernel, *numbers = line.split(" ")
                    self.assertRegex(kernel, r"^[a-z_]+([24](\+pool)?)?$")
                    self.assertEqual(len([int(number) for number in numbers]), 6)
                self.assertEqual(len(lines), len({line.split(" ", 1)[1] for line in lines}))

    def test_bench_refuses_what_does_not_go_together(self):
        self.assertEqual(run("bench", "--model", MODEL, "--chrome-trace", "x.json")[0], 2)
        self.assertEqual(run("bench", "--model", MODEL, "--profile", "--shapes", ".")[0], 2)
        code, _, err = run("bench", "--model", MODEL, "--shapes", "/nowhere/at/all")
        self.assertEqual(code, 7)
        self.assertIn("/nowhere/at/all", err)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
