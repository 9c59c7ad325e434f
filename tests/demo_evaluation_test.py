"""models/demo/evaluate.py on captions written by hand: any COCO file, and one with scenes; the
scenes' variants and the ablations of models/demo/report.py.

Usage: demo_evaluation_test.py    (exit code 77, skipped, without PyTorch, NumPy and Pillow)
"""

import contextlib
import io
import json
import shutil
import sys
import tempfile
import types
import unittest
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
try:
    import numpy as np
    import torch

    from models.demo import ablations, evaluate, report, scenes, training_data, variants
    from models.reference.lightcap import load_captioner
    from models.reference.preprocess import read_image
    from models.training.config import load
    from models.training.evaluate import tokenize
except ImportError as error:
    print(f"skipped: {error}")
    sys.exit(77)

try:
    import pycocoevalcap
except ImportError:
    pycocoevalcap = None


def line(image, caption, tokens, concepts=()):
    return {"image": image, "caption": caption, "tokens": tokens, "concepts": list(concepts)}


# Nothing of the demo in it: ids with gaps, names with folders, an image without a reference.
COCO = {
    "images": [{"id": 7, "file_name": "val2014/COCO_7.jpg"}, {"id": 9, "file_name": "COCO_9.jpg"},
               {"id": 40, "file_name": "COCO_40.jpg"}, {"id": 41, "file_name": "COCO_41.jpg"}],
    "annotations": [
        {"id": 1, "image_id": 7, "caption": "A man rides a brown horse on the beach."},
        {"id": 2, "image_id": 7, "caption": "A rider on horseback near the sea."},
        {"id": 3, "image_id": 9, "caption": "Two zebras stand in tall dry grass."},
        {"id": 4, "image_id": 40, "caption": "A bowl of soup with a silver spoon."},
    ],
}  # fmt: skip
GOOD = [
    line("/x/COCO_9.jpg", "two zebras stand in tall dry grass.", [5, 6]),
    line("/x/COCO_7.jpg", "a man rides a brown horse on the beach.", [1, 2]),
    line("/x/COCO_40.jpg", "a bowl of soup with a silver spoon.", [3]),
    {"image": "/x/COCO_41.jpg", "error": "/x/COCO_41.jpg: not a picture"},
]
POOR = [
    line("/x/COCO_9.jpg", "a man rides a brown horse on the beach.", [1, 2]),
    line("/x/COCO_7.jpg", "a rider on the beach", [1, 2]),
]

# A red car of 40 by 20 under the sun of 20 by 20.
SCENE = {
    "width": 100, "height": 100, "setting": "street", "relation": "under",
    "groups": [
        {"kind": "car", "colour": "red", "size": "", "number": 1, "boxes": [[10, 70, 50, 90]]},
        {"kind": "sun", "colour": "", "size": "", "number": 1, "boxes": [[20, 10, 40, 30]]},
    ],
}  # fmt: skip


def scene_file(count):
    """`count` images of the one scene."""
    images = [{"id": i, "file_name": f"{i}.png", "scene": SCENE} for i in range(count)]
    return {"images": images, "annotations": []}


def concept(label, score, box):
    return {"label": label, "similarity": 0.9, "score": score, "box": box}


class Evaluate(unittest.TestCase):
    def run_main(self, coco, lines, against=None):
        """The results of the command line; what it said on stderr is kept."""
        with tempfile.TemporaryDirectory() as folder:
            folder = Path(folder)
            (folder / "captions.json").write_text(json.dumps(coco))
            for name, records in (("p", lines), ("q", against or [])):
                (folder / f"{name}.jsonl").write_text(
                    "".join(json.dumps(r) + "\n" for r in records)
                )
            arguments = ["evaluate", str(folder / "captions.json"), "--predictions",
                         str(folder / "p.jsonl"), "--out", str(folder / "out" / "results")]  # fmt: skip
            if against:
                arguments += ["--against", str(folder / "q.jsonl")]
            stderr = io.StringIO()
            with mock.patch.object(sys, "argv", arguments), contextlib.redirect_stderr(stderr), \
                    contextlib.redirect_stdout(io.StringIO()):  # fmt: skip
                evaluate.main()
            self.stderr = stderr.getvalue()
            results = json.loads((folder / "out" / "results.json").read_text())
            table = (folder / "out" / "results.md").read_text()
        self.assertEqual(table.count("\n"), 2 + len(results))
        return results

    def test_any_captions_file(self):
        results = self.run_main(COCO, GOOD)
        self.assertEqual((results["images"], results["captioned"]), (4, 3))
        self.assertNotIn("facts true", results)
        self.assertNotIn("detector AP50", results)

    @unittest.skipUnless(pycocoevalcap, "pycocoevalcap is not installed")
    def test_scores_of_captions(self):
        good, poor = self.run_main(COCO, GOOD), self.run_main(COCO, POOR)
        self.assertAlmostEqual(good["BLEU-4"], 1, places=6)  # the references' words, other case
        self.assertGreater(good["CIDEr"], 5)
        self.assertLess(poor["CIDEr"], 1)
        self.assertLess(poor["BLEU-4"], 0.5)

    def test_without_pycocoevalcap(self):
        with mock.patch.dict(sys.modules, {"pycocoevalcap.bleu.bleu": None}):
            results = self.run_main(COCO, GOOD)
        self.assertEqual(results["captioned"], 3)
        self.assertNotIn("CIDEr", results)
        self.assertNotIn("BLEU-4", results)
        self.assertIn("CIDEr and BLEU-4 are left out", self.stderr)
        self.assertIn("pip install pycocoevalcap", self.stderr)

    def run_with_stubs(self, java):
        """The results with scorers that count words in common, beside a jar and with this `java`."""
        stubs = {name: types.ModuleType(name) for name in (
            "pycocoevalcap", "pycocoevalcap.bleu", "pycocoevalcap.bleu.bleu", "pycocoevalcap.cider",
            "pycocoevalcap.cider.cider", "pycocoevalcap.tokenizer",
            "pycocoevalcap.tokenizer.ptbtokenizer")}  # fmt: skip
        self.scored = []

        class Scorer:
            def __init__(self, *_):
                pass

            def compute_score(scorer, truth, tried, verbose=0):
                self.scored.append((truth, tried))
                return [0.0] * 4, [[0.0]] * 4

        class Cider(Scorer):
            def compute_score(scorer, truth, tried):
                self.scored.append((truth, tried))
                return 0.0, [0.0] * len(truth)

        stubs["pycocoevalcap.bleu.bleu"].Bleu = Scorer
        stubs["pycocoevalcap.cider.cider"].Cider = Cider
        stubs["pycocoevalcap.tokenizer.ptbtokenizer"].PUNCTUATIONS = ["."]
        stubs["pycocoevalcap"].tokenizer = stubs["pycocoevalcap.tokenizer"]
        with tempfile.TemporaryDirectory() as folder:
            stubs["pycocoevalcap.tokenizer"].__path__ = [folder]
            (Path(folder) / "stanford-corenlp-3.4.1.jar").write_bytes(b"")
            if java:
                (Path(folder) / "java").write_text("#!/bin/sh\n" + java)
                (Path(folder) / "java").chmod(0o755)
            path = f"{folder}:/bin:/usr/bin" if java else folder
            with mock.patch.dict(sys.modules, stubs), mock.patch.dict("os.environ", PATH=path):
                return self.run_main(COCO, GOOD)

    def test_the_tokenizer_is_cocos_where_java_is(self):
        # Splits the final stop off, as the real one does; fails without the options that it needs.
        java = """case "$*" in
            *"-cp "*stanford-corenlp-3.4.1.jar*PTBTokenizer*-preserveLines*-lowerCase*) ;;
            *) exit 1 ;;
        esac
        exec sed 's/\\.$/ ./; s/^A /the /'
        """
        self.assertEqual(self.run_with_stubs(java)["tokenizer"], "PTBTokenizer")
        self.assertNotIn("split by", self.stderr)
        truth, tried = self.scored[0]
        self.assertEqual(truth[40], ["the bowl of soup with a silver spoon"])
        self.assertEqual(len(truth[7]), 2)
        self.assertEqual(tried[9], ["two zebras stand in tall dry grass"])

    def test_a_tokenizer_that_fails_is_an_error(self):
        for java in ("exit 3\n", "head -n 2\n"):
            with self.assertRaisesRegex(SystemExit, "PTBTokenizer failed"):
                self.run_with_stubs(java)

    def test_without_java_the_own_splitter_is_named(self):
        self.assertEqual(self.run_with_stubs("")["tokenizer"], "models.reference.text.words")
        self.assertIn("do not compare with published figures", self.stderr)
        self.assertEqual(self.scored[0][1][9], ["two zebras stand in tall dry grass ."])

    @unittest.skipUnless(pycocoevalcap and shutil.which("java"), "needs pycocoevalcap and java")
    def test_cocos_own_tokenizer(self):
        said = ["A man's dog, isn't it?", "", "two\u2028zebras\r\n GRASS. Caf\u00e9"]
        self.assertEqual(tokenize(said), (
            ["a man 's dog is n't it", "", "two zebras grass caf\u00e9"], "PTBTokenizer"))  # fmt: skip

    def test_same_tokens(self):
        self.assertEqual(self.run_main(COCO, GOOD, against=POOR)["same tokens"], 1 / 4)

    def test_facts(self):
        said = ["a red car under the sun on a street",  # everything
                "a blue car on a street",  # the colour is wrong, the sun is not named
                "a red car above the sun on a street",  # the relation is wrong
                ""]  # fmt: skip
        results = evaluate.score(scene_file(4), {
            f"{i}.png": line(f"{i}.png", text, []) for i, text in enumerate(said)})  # fmt: skip
        self.assertEqual(results["captions true throughout"], 1 / 4)
        self.assertEqual(results["things named"], 5 / 8)
        self.assertEqual(results["colour facts true"], 2 / 3)
        self.assertEqual(results["relation facts true"], 1 / 2)
        # Things 5, numbers 5, colours 3, relations 2, settings 3.
        self.assertAlmostEqual(results["facts true"], 16 / 18)

    def test_boxes_and_concepts(self):
        results = evaluate.score(scene_file(1), {"0.png": line("0.png", "", [], [
            concept("red car", 0.9, [12, 70, 50, 90]),
            concept("red car", 0.8, [11, 71, 50, 90]),  # the same car again
            concept("sun", 0.7, [20, 12, 40, 30]),
            concept("green tree", 0.6, [60, 60, 90, 90]),
        ])})  # fmt: skip
        # Precision 1 up to recall 1/2, then 2/3.
        self.assertAlmostEqual(results["detector AP50"], (1 + 2 / 3) / 2)
        self.assertEqual(results["concept recall"], 1)
        self.assertAlmostEqual(results["concept precision"], 2 / 3)


class Drawing(unittest.TestCase):
    def test_scenes_of_more_groups_only(self):
        fewest = [min(len(scene.groups) for scene, *_ in scenes.sequence(5, 12, n)) for n in (1, 2, 3)]
        self.assertEqual(fewest, [1, 2, 3])
        source = training_data.Scenes(Path(), 8, groups=3)
        self.assertEqual({source[i].weight for i in range(len(source))}, {2.0**3})

    def test_the_report_compares_with_the_scenes_of_the_training(self):
        config = load(Path(report.__file__).with_name("training.json"))
        self.assertEqual(report.train_scenes(), config.captions[0]["count"])


class Variants(unittest.TestCase):
    def test_the_reader_undoes_every_orientation(self):
        with tempfile.TemporaryDirectory() as out:
            drawn = list(scenes.sequence(5, 7))
            files = variants.write(drawn, Path(out))
            folder = variants.folder(Path(out), "EXIF orientations 2 to 8, PNG")
            for (scene, picture, _), image in zip(
                drawn, files["EXIF orientations 2 to 8, PNG"]["images"]
            ):
                file = folder / image["file_name"]
                self.assertTrue(np.array_equal(read_image(file), np.asarray(picture)))
                self.assertEqual((image["width"], image["height"]), (scene.width, scene.height))
                self.assertFalse(np.array_equal(read_image(file, False), np.asarray(picture)))

    def test_boxes_follow_the_size(self):
        with tempfile.TemporaryDirectory() as out:
            drawn = list(scenes.sequence(5, 2))
            larger = evaluate.scenes_of(variants.write(drawn, Path(out))["enlarged 2x"])
            for i, (scene, *_) in enumerate(drawn):
                self.assertEqual(larger[i].width, 2 * scene.width)
                for group, old in zip(larger[i].groups, scene.groups):
                    self.assertTrue(np.allclose(group.boxes, 2 * np.array(old.boxes)))


class Ablations(unittest.TestCase):
    def setUp(self):
        files = Path(__file__).resolve().parent / "goldens"
        config = files / "configs" / "stretch-mask-mean_probability.json"
        self.captioner = load_captioner(
            *map(str, (files / "model.pt", files / "vocab.txt", files / "concepts.txt", config))
        )
        self.pixels = read_image(files / "picture.png")

    @torch.inference_mode()
    def test_parts_are_taken_out_and_put_back(self):
        captioner, model = self.captioner, self.captioner.model
        whole = captioner.caption(self.pixels)
        with ablations.gate_open(model):
            prefix, _, trace = captioner.look(self.pixels)
        self.assertTrue((trace["gate"] == 1).all())
        self.assertFalse(torch.equal(prefix[0], whole.trace["prefix"]))

        logits = model.head.logits(prefix[0], model.word_embeddings)
        for i in range(len(model.head.branches)):
            with ablations.one_branch(model, i):
                alone = model.head(prefix[0], model.word_embeddings, "mean_probability")
            self.assertTrue(torch.allclose(alone, logits[i].log_softmax(-1), atol=1e-5))

        blind = ablations.WithoutConcepts(model, captioner.text, captioner.labels)
        without = blind.look(self.pixels)[0].shape[1]
        self.assertEqual(blind.concept_tokens(["a", "b"]), [captioner.special.sep])
        self.assertLess(without, len(whole.trace["prefix"]))

        again = captioner.caption(self.pixels)
        self.assertEqual(again.tokens, whole.tokens)
        self.assertTrue(torch.equal(again.trace["prefix"], whole.trace["prefix"]))


if __name__ == "__main__":
    unittest.main()
