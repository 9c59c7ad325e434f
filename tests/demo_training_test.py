"""A few steps of the demo model's training: they reproduce from the seed, and what they leave is a model
that the engine captions with as PyTorch does.

Usage: demo_training_test.py LIGHTCAP LIGHTCAP_CONVERT    (skipped where Python has no PyTorch)
"""

import json
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LIGHTCAP, CONVERT = sys.argv[1:3]
SKIPPED = 77
PICTURE = ROOT / "models/demo/pictures/meadow.png"


def python(*arguments):
    return subprocess.run([sys.executable, "-m", *map(str, arguments)], cwd=ROOT, check=True,
                          capture_output=True, text=True, timeout=600).stdout


def train(out):
    """Two steps with the detector, two without, and two of the finish."""
    return python("models.demo.train", "--out", out, "--scenes", 16, "--steps", 4, "--finish", 2,
                  "--batch", 8)


class Training(unittest.TestCase):
    def test_training(self):
        with tempfile.TemporaryDirectory() as folder:
            runs = [Path(folder, name) for name in ("first", "second")]
            progress = [train(run) for run in runs]
            self.assertIn("6/6 detector", progress[0])
            first, second = ((run / "model.pt").read_bytes() for run in runs)
            self.assertEqual(first, second)
            # A run that is through is not begun again.
            train(runs[0])
            self.assertEqual((runs[0] / "model.pt").read_bytes(), first)

            model = Path(folder, "model.lcw")
            files = {"--lightcap": "model.pt", "--vocab": "vocab.txt", "--concepts": "labels.txt",
                     "--config": "config.json"}
            names = [str(word) for option, name in files.items() for word in (option, runs[0] / name)]
            subprocess.run([CONVERT, *names, "-o", model], check=True, capture_output=True)
            done = subprocess.run([LIGHTCAP, "caption", "--model", model, "--json", PICTURE],
                                  check=True, capture_output=True, text=True)
            names[0] = "--weights"
            expected = json.loads(python("models.reference.caption", "--json", *names, PICTURE))
            self.assertEqual(json.loads(done.stdout)["tokens"], expected["tokens"])


if __name__ == "__main__":
    try:
        import PIL  # noqa: F401
        import torch  # noqa: F401
    except ImportError as error:
        print(f"skipped: {error}")
        sys.exit(SKIPPED)
    unittest.main(argv=sys.argv[:1])
