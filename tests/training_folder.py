"""A folder for a test of training, with what its readers read."""

import json
import tempfile
import unittest
from pathlib import Path

from PIL import Image

from models.training.config import ConfigError
from models.training.sources import open_pictures

DEMO = Path(__file__).resolve().parent.parent / "models/demo/scenes.lcw"
COCO = {
    "images": [{"id": 7, "file_name": "a.png"}, {"id": 9, "file_name": "b.png"},
               {"id": 11, "file_name": "silent.png"}],
    "annotations": [{"image_id": 9, "caption": "two zebras"}, {"image_id": 7, "caption": "a horse"},
                    {"image_id": 9, "caption": "zebras"}],
}  # fmt: skip


class InFolder(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.folder = Path(temporary.name)

    def write(self, name, value):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(value if isinstance(value, str) else json.dumps(value))
        return path

    def picture(self, name, colour=(10, 20, 30)):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 30), colour).save(path)

    def open(self, **spec):
        return open_pictures([spec], self.folder, "captions")

    def refused(self, expected, **spec):
        with self.assertRaisesRegex(ConfigError, expected):
            self.open(**spec)
