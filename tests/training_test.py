"""All stages of models/training on a few drawn scenes, from nothing: each lowers its loss, a run that is
broken in the middle of every stage ends as one that is not, and what the stages leave is a model that the
engine captions with as PyTorch does.

Usage: training_test.py LIGHTCAP LIGHTCAP_CONVERT    (skipped where Python has no PyTorch)
"""

import json
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
SKIPPED = 77
try:
    import PIL  # noqa: F401
    import torch

    from models.reference.lightcap import load_captioner
    from models.reference.preprocess import read_image
    from models.training import loop
    from models.training.config import ConfigError, load
    from models.training.run import Run
    from models.training.stages import STAGES
except ImportError as error:
    print(f"skipped: {error}")
    sys.exit(SKIPPED)

LIGHTCAP, CONVERT = sys.argv[1:3]
PICTURES = [ROOT / "models/demo/pictures" / name for name in ("meadow.png", "room.png")]
CARD = ROOT / "models/training/CARD.md"
SCENES = [{"source": "models.demo.training_data:Scenes", "count": 4}]


def schedule(steps, rate, batch=8):
    return {"steps": steps, "batch": batch, "rate": rate, "save_every": 1000, "log_every": steps // 4,
            "decay": "constant", "dropout": 0.1}  # fmt: skip


SETTINGS = {
    "model": {
        "image_encoder": {"image_size": 64, "width": 8, "blocks": [1, 1, 1, 1]},
        "detector": {"image_size": 64, "widths": [4, 4, 8, 8, 8], "depths": [1] * 8},
        "concept_extractor": {"hidden": 16, "embedding": 8, "deduplicate": False},
        "fusion": {"width": 24, "layers": 2, "heads": 2, "feed_forward": 48, "caption_slots": 28,
                   "max_concept_tokens": 24, "positions": 52},
    },
    "inputs": {"vocabulary": "models.demo.model:vocabulary", "labels": "models.demo.model:labels"},
    "captions": SCENES,
    "regions": SCENES,
    "autocast": "off",  # the same on every processor
    "deterministic": True,  # and on a GPU
    "initial_std": 0.1,
    "encoder": {"schedule": schedule(16, 3e-3)},
    "concepts": {"train_detector": True, "detector": schedule(16, 3e-3), "schedule": schedule(16, 3e-3),
                 "scale": 10.0},
    "teachers": {
        "model": {"fusion": {"width": 30, "layers": 4, "heads": 3}},
        "pretraining": {"schedule": schedule(16, 3e-3)},
        "captioning": {"predict": "every", "schedule": schedule(32, 5e-3)},
    },
    "pretrain": {"schedule": schedule(16, 3e-3)},
    "caption": {"predict": "every", "schedule": schedule(100, 5e-3)},
    # After so short a training samples are far worse than greedy captions: they are held against each other.
    "cider": {"baseline": "others", "schedule": schedule(12, 3e-3)},
}  # fmt: skip
ORDER = ("encoder", "concepts", "teachers", "pretrain", "caption", "cider")
# The folder that each loop logs to, and the losses that have to fall (or, with +, to rise).
FOLDERS = {
    "encoder": ("concepts", "caption"), "detector": ("detector",), "concepts": ("concepts",),
    **{f"teachers/{k}/pretrain": ("masked",) for k in range(3)},
    **{f"teachers/{k}/caption": ("caption",) for k in range(3)},
    "pretrain": ("masked", "tokens", "attention", "hidden"), "caption": ("caption", "tokens"),
    "cider": ("+reward",),
}  # fmt: skip


def train(config, out, stop_after=None):
    """Every stage; with stop_after each loop is left after so many steps, and taken up again."""
    for stage in ORDER:
        if stop_after:
            # Teachers are all begun; of two loops the second is, once the first is through.
            STAGES[stage](Run(config, out, loop.world(config), stop_after=stop_after))
        finished = STAGES[stage](Run(config, out, loop.world(config)))
        if not finished:
            raise AssertionError(f"{stage} did not finish")


class Training(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.temporary = tempfile.TemporaryDirectory()
        cls.folder = Path(cls.temporary.name)
        path = cls.folder / "config.json"
        path.write_text(json.dumps(SETTINGS))
        torch.set_num_threads(1)
        cls.config = load(path)
        cls.out = cls.folder / "whole"
        train(cls.config, cls.out)

    @classmethod
    def tearDownClass(cls):
        cls.temporary.cleanup()

    def test_every_stage_lowers_its_loss(self):
        for folder, names in FOLDERS.items():
            lines = [json.loads(line) for line in (self.out / folder / "log.jsonl").read_text().splitlines()]
            for name in names:
                with self.subTest(folder=folder, loss=name):
                    first, last = (line[name.removeprefix("+")] for line in (lines[0], lines[-1]))
                    self.assertGreater(*((last, first) if name[0] == "+" else (first, last)))

    def test_a_broken_run_ends_as_a_whole_one(self):
        broken = self.folder / "broken"
        train(self.config, broken, stop_after=7)
        for folder in FOLDERS:
            with self.subTest(folder=folder):
                whole, mended = (torch.load(out / folder / "model.pt", weights_only=True)
                                 for out in (self.out, broken))  # fmt: skip
                self.assertEqual(whole.keys(), mended.keys())
                for name, value in whole.items():
                    self.assertTrue(torch.equal(value, mended[name]), name)

    def test_the_engine_captions_as_pytorch(self):
        for folder in FOLDERS:
            with self.subTest(folder=folder):
                model = self.folder / "model.lcw"
                files = [str(self.out / folder / name)
                         for name in ("model.pt", "vocab.txt", "labels.txt", "config.json")]  # fmt: skip
                options = ("--lightcap", "--vocab", "--concepts", "--config")
                words = [word for pair in zip(options, files) for word in pair]
                subprocess.run([CONVERT, *words, "-o", model, "--card", CARD], check=True,
                               capture_output=True)  # fmt: skip
                done = subprocess.run([LIGHTCAP, "caption", "--model", model, "--json", *PICTURES],
                                      check=True, capture_output=True, text=True)
                said = [json.loads(line) for line in done.stdout.splitlines()]
                captioner = load_captioner(*files)
                for picture, line in zip(PICTURES, said, strict=True):
                    expected = captioner.caption(read_image(picture))
                    self.assertEqual(line["tokens"], expected.tokens)

        done = subprocess.run([LIGHTCAP, "inspect", model], check=True, capture_output=True, text=True)
        self.assertTrue(done.stdout.endswith("\n\n" + CARD.read_text()))

    def test_a_run_that_is_through_is_not_begun_again(self):
        before = (self.out / "caption/model.pt").read_bytes()
        self.assertTrue(STAGES["caption"](Run(self.config, self.out, loop.world(self.config))))
        self.assertEqual((self.out / "caption/model.pt").read_bytes(), before)

    def test_the_command(self):
        """One command a stage; settings that it lacks or has too many are named."""

        def command(*arguments):
            return subprocess.run([sys.executable, "-m", "models.training", *map(str, arguments)], cwd=ROOT,
                                  capture_output=True, text=True, check=False)

        common = ("--config", self.folder / "config.json", "--out", self.out, "--variant", "alone")
        done = command("pretrain", *common, "--set", "pretrain.distilled.teachers=[]", "--stop-after", 1)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("stopped after 1 steps", done.stderr)
        self.assertTrue((self.out / "pretrain-alone/model.pt").exists())
        done = command("caption", *common, "--set", "caption.distilled.teacher=[]")
        self.assertEqual(done.returncode, 2)
        self.assertIn("caption.distilled.teacher is unknown", done.stderr)

    def test_what_is_missing_is_named(self):
        empty = self.folder / "empty"
        with self.assertRaisesRegex(ConfigError, "run the stage encoder first"):
            STAGES["concepts"](Run(self.config, empty, loop.world(self.config)))


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
