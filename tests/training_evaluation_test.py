"""CIDEr-D and the evaluation of captions, with Karpathy's split and results for nocaps.

Usage: training_evaluation_test.py    (exit code 77, skipped, without PyTorch, NumPy and Pillow)
"""

import contextlib
import io
import json
import os
import sys
import tempfile
import unittest
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
try:
    import numpy as np

    from models.reference.lightcap import LightCap
    from models.training import checkpoints, cider, evaluate
    from models.training.cider import CiderD, Frequencies, spoken
    from models.training.sources import lcw
    from tests.training_folder import COCO, DEMO, InFolder
except ImportError as error:
    print(f"skipped: {error}")
    sys.exit(77)


class Scores(unittest.TestCase):
    REFERENCES = [["a man rides a brown horse on the beach", "a rider on horseback"],
                  ["two zebras stand in tall dry grass", "zebras in the grass", "two zebras"],
                  ["a bowl of soup with a silver spoon", "soup in a bowl"]]  # fmt: skip
    SAID = ["a man rides a horse on the beach", "two zebras in the dry grass .", "a cat"]

    def scores(self):
        scorer = CiderD(Frequencies.of(self.REFERENCES))
        return [scorer.score(text, texts) for text, texts in zip(self.SAID, self.REFERENCES)]

    def test_cider_d(self):
        """pycocoevalcap 1.2's Cider, on the same words."""
        for mine, published in zip(self.scores(), (3.605612545147, 2.97964889249, 0.175977516108)):
            self.assertAlmostEqual(mine, published, places=9)

    def test_cider_d_beside_the_package(self):
        try:
            from pycocoevalcap.cider.cider_scorer import CiderScorer
        except ImportError:
            self.skipTest("needs pycocoevalcap")
        scorer = CiderScorer()
        for text, texts in zip(self.SAID, self.REFERENCES):
            scorer += (" ".join(spoken(text)), [" ".join(spoken(t)) for t in texts])
        self.assertTrue(np.allclose(scorer.compute_score()[1], self.scores(), atol=1e-12))

    def test_vectors_are_kept_of_the_last_references_alone(self):
        with mock.patch.object(cider, "KEPT", 2):
            scorer = CiderD(Frequencies.of(self.REFERENCES))
        scores = [scorer.score(text, texts) for text, texts in zip(self.SAID, self.REFERENCES)]
        self.assertEqual(scores, self.scores())
        self.assertEqual(scorer._reference.cache_info().currsize, 2)

    def test_frequencies_are_kept(self):
        made = Frequencies.of(self.REFERENCES)
        self.assertEqual(made.counts[("a",)], 2)
        with tempfile.TemporaryDirectory() as folder:
            made.save(Path(folder, "f.json"))
            kept = Frequencies.load(Path(folder, "f.json"))
        self.assertEqual((kept.counts, kept.pictures), (made.counts, made.pictures))

    def test_nocaps(self):
        coco = {"images": [{"id": 3, "file_name": "x/b.jpg"}, {"id": 1, "file_name": "a.jpg"}]}
        said = {"a.jpg": {"caption": "one"}, "b.jpg": {"caption": "two"}}
        self.assertEqual(evaluate.nocaps(coco, said),
                         [{"image_id": 3, "caption": "two"}, {"image_id": 1, "caption": "one"}])  # fmt: skip
        with self.assertRaisesRegex(SystemExit, "1 images have no caption, a.jpg among them"):
            evaluate.nocaps(coco, {"b.jpg": {"caption": "two"}})


class Evaluation(InFolder):
    """The command line of models/training/evaluate.py."""

    KARPATHY = {"images": [
        {"cocoid": 7, "filepath": "val2014", "filename": "a.jpg", "split": "test",
         "sentences": [{"raw": "A horse."}, {"raw": "A pony."}]},
        {"cocoid": 9, "filename": "b.jpg", "split": "train", "sentences": [{"raw": "A zebra."}]}]}  # fmt: skip

    def run_main(self, *arguments):
        """The command's status, and its standard error."""
        said = io.StringIO()
        with mock.patch.object(sys, "argv", ["evaluate", *map(str, arguments)]), \
                contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):  # fmt: skip
            try:
                status = evaluate.main()
            except SystemExit as error:
                status = error.code
        return status, said.getvalue()

    def test_karpathys_split(self):
        path = self.write("dataset_coco.json", self.KARPATHY)
        coco = evaluate.read_coco(path, "test")
        self.assertEqual(coco["images"], [{"id": 7, "file_name": "val2014/a.jpg"}])
        self.assertEqual(evaluate.references_of(coco), {7: ["A horse.", "A pony."]})
        said = self.write("p.jsonl", json.dumps({"image": "/x/a.jpg", "caption": "a horse"}) + "\n")
        out = self.folder / "results"
        common = (path, "--predictions", said, "--out", out)
        self.assertEqual(self.run_main(*common, "--split", "test")[0], 0)
        results = json.loads((self.folder / "results.json").read_text())
        self.assertEqual((results["images"], results["captioned"]), (1, 1))
        self.assertNotIn("beams", results)  # nobody knows with how many they were made
        for more, pattern in (((), "is Karpathy's: --split is wanted"),
                              (("--split", "tset"), "no picture of the split 'tset'")):  # fmt: skip
            status, error = self.run_main(*common, *more)
            self.assertEqual(status, 2)
            self.assertIn(pattern, error)
        plain = self.write("captions.json", COCO)
        status, error = self.run_main(plain, *common[1:], "--split", "test")
        self.assertEqual(status, 2)
        self.assertIn("is no dataset_coco.json of Karpathy's", error)
        instances = self.write("instances.json", {"images": COCO["images"],
                                                  "annotations": [{"image_id": 7}]})  # fmt: skip
        self.assertIn("an annotation has no 'caption'", self.run_main(instances, *common[1:])[1])

    def test_results_of_versions_stay_apart(self):
        for name in ("v0.1", "v0.1-int8"):
            with contextlib.redirect_stdout(io.StringIO()):
                evaluate.write_results(self.folder / "results" / name, {"images": 1})
        self.assertEqual(sorted(path.name for path in (self.folder / "results").iterdir()),
                         ["v0.1-int8.json", "v0.1-int8.md", "v0.1.json", "v0.1.md"])  # fmt: skip

    def test_captions_by_pytorch(self):
        state, config, vocabulary, labels = lcw.load_lcw(DEMO)
        model = LightCap(config)
        model.load_state_dict(state)
        checkpoints.export(self.folder / "run", model, vocabulary, labels, 1, 1)
        meadow = DEMO.parent / "pictures/meadow.png"
        path = self.write("captions.json", {"images": [{"id": 1, "file_name": meadow.name}]})
        out = self.folder / "v0.1"
        status, error = self.run_main(path, "--images", meadow.parent, "--run", self.folder / "run", "--beams", 1,
                                      "--out", out)  # fmt: skip
        self.assertEqual(status, 0, error)
        said = json.loads((self.folder / "v0.1.jsonl").read_text())
        self.assertEqual(said["caption"], "a small purple flower under a yellow balloon in a meadow")
        self.assertEqual(json.loads((self.folder / "v0.1.json").read_text())["beams"], 1)

    def test_options_of_java_are_none_of_java_8s(self):
        """JAVA_TOOL_OPTIONS would end Java 8, which reads that one and does not know --add-opens."""
        seen = {}
        scorer = mock.Mock()
        scorer.Spice().compute_score = lambda *_: (seen.update(os.environ), (0.5, []))[1]
        packages = {"pycocoevalcap": mock.Mock(), "pycocoevalcap.spice": mock.Mock(),
                    "pycocoevalcap.spice.spice": scorer}  # fmt: skip
        with mock.patch.dict(sys.modules, packages), mock.patch.dict(os.environ):
            os.environ.pop("JAVA_TOOL_OPTIONS", None)
            os.environ.pop("JDK_JAVA_OPTIONS", None)
            self.assertEqual(evaluate.MORE["SPICE"]({}, {}), 0.5)
        self.assertIn("--add-opens", seen["JDK_JAVA_OPTIONS"])
        self.assertNotIn("JAVA_TOOL_OPTIONS", seen)

    def test_pictures_lie_in_folders_or_beside_each_other(self):
        (self.folder / "val2014").mkdir()
        (self.folder / "val2014/a.jpg").touch()
        self.assertEqual(evaluate.picture_of(self.folder, "val2014/a.jpg"), self.folder / "val2014/a.jpg")
        self.assertEqual(evaluate.picture_of(self.folder, "val2014/b.jpg"), self.folder / "b.jpg")


if __name__ == "__main__":
    unittest.main()
