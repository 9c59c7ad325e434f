"""Training's data: pictures of which some are damaged, their cached features, and what a stage left for the next.

Usage: training_data_test.py    (skipped where Python has no PyTorch)
"""

import contextlib
import io
import json
import sys
import tarfile
import unittest
from pathlib import Path
from unittest.mock import patch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
try:
    import numpy as np
    import torch
    from PIL import Image
    from torch import nn

    from models.reference.config import Config
    from models.reference.lightcap import LightCap
    from models.reference.preprocess import EncoderGeometry
    from models.reference.text import SPECIAL, WordPiece
    from models.training import checkpoints, features, loop
    from models.training.config import ConfigError, Masking, Schedule, StudentPretraining, choices
    from models.training.examples import Examples
    from models.training.features import Extraction, caption_ids, fill, fingerprint, seen_share
    from models.training.run import said_of
    from models.training.sources import Picture, Reader, check_share, open_pictures
    from tests.training_folder import InFolder
except ImportError as error:
    print(f"skipped: {error}")
    sys.exit(77)

SIZES = {
    "image_encoder": {"image_size": 64, "width": 8, "blocks": [1, 1, 1, 1]},
    "detector": {"image_size": 64, "widths": [4, 4, 8, 8, 8], "depths": [1] * 8},
    "concept_extractor": {"hidden": 16, "embedding": 8, "vocabulary": 2},
    "fusion": {"width": 24, "layers": 1, "heads": 2, "feed_forward": 48, "caption_slots": 6,
               "max_concept_tokens": 4, "positions": 10, "vocabulary": 8},
}  # fmt: skip
LABELS = ["dog", "cat"]
ALONE = loop.World(0, 1, torch.device("cpu"), False)


class InShards(InFolder):
    def setUp(self):
        super().setUp()
        torch.manual_seed(1)
        self.model = LightCap(Config().update(SIZES)).eval()
        self.text = WordPiece([*SPECIAL, "a", *LABELS])

    def shard(self, name, files):
        with tarfile.open(self.folder / name, "w") as tar:
            for file, content in files.items():
                info = tarfile.TarInfo(file)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))

    def jpeg(self, colour):
        data = io.BytesIO()
        Image.new("RGB", (80, 64), colour).save(data, "JPEG")
        return data.getvalue()

    def shards(self, damaged=(), count=5):
        """A picture in a shard for each number, with a caption of as many words."""
        for i in range(count):
            data = self.jpeg((40 * i, 10, 10))
            data = data[: len(data) // 2] if i in damaged else data
            self.shard(f"{i}.tar", {f"{i}.jpg": data, f"{i}.txt": b"a " * i + b"dog"})
        return open_pictures([{"source": "shards", "pattern": "*.tar"}], self.folder, "captions")

    def filled(self, pictures, share=0.0, name="features", world=ALONE):
        extraction = Extraction(self.model, self.text, world.device)
        mark = fingerprint(self.model, pictures, [LABELS])
        with patch.object(features, "CHUNK", 2):
            return fill(self.folder / name, Reader(pictures, share), extraction, LABELS, 1, mark, world)

    def examples(self, of, pictures):
        said = said_of(self.folder / "said.npz", of, self.model, ALONE)
        return Examples(of, said, LABELS, self.text, self.model, ALONE.device, pictures)


class Damaged(InShards):
    def test_readers_leave_out_what_cannot_be_read(self):
        pictures = self.shards(damaged=(1,))
        reader = Reader(pictures, 0.2)
        for _ in range(2):
            found = reader.map(lambda pixels, about: about.name, [0, 1, 2])
            self.assertEqual(found, ["/0", None, "/2"])
        self.assertEqual([about.name for _, about in reader.read([0, 1])], ["/0"])
        self.assertEqual([about.name for _, about in reader.read([1])], ["/2"])

    def test_too_many_are_an_error(self):
        reader = Reader(self.shards(damaged=(1, 3)), 0.2)
        with self.assertRaisesRegex(ConfigError, r"2 of 5 pictures cannot be read, more than bad_pictures \(0.2 of"):
            reader.read(range(5))

    def test_a_process_alone_does_not_see_too_many(self):
        """Nor does a run that goes on: each has a reader of its own, of which none meets two."""
        pictures = self.shards(damaged=(1, 3))
        arrays = features._arrays(self.folder, self.model.config, len(pictures), 1)
        extraction = Extraction(self.model, self.text, ALONE.device)
        for rows in (range(2), range(2, 5)):
            features._rows(arrays, rows, Reader(pictures, 0.2), extraction)
        check_share(features.unread(arrays), len(pictures), 0.4, "could not be read")
        with self.assertRaisesRegex(ConfigError, r"2 of 5 pictures could not be read, more than bad_pictures \(0.2 of"):
            check_share(features.unread(arrays), len(pictures), 0.2, "could not be read")

    def test_a_picture_that_is_too_large_is_damaged(self):
        with patch.object(Image, "MAX_IMAGE_PIXELS", 100):
            with self.assertRaisesRegex(ConfigError, "1 of 5 pictures cannot be read.*0.tar: /0: .*exceeds limit"):
                Reader(self.shards(), 0).read([0])

    def test_their_features_weigh_nothing(self):
        whole = self.filled(self.shards(), name="whole")
        pictures = self.shards(damaged=(2,))
        found = self.filled(pictures, 0.2)
        self.assertEqual(found.weights.tolist(), [1, 1, 0, 1, 1])
        others = [0, 1, 3, 4]
        for name in ("captions", "proposed"):
            self.assertTrue(np.array_equal(getattr(found, name)[others], getattr(whole, name)[others]), name)
        for name in ("grids", "proposals"):  # of other batches, which are summed in another order
            np.testing.assert_allclose(getattr(found, name)[others], getattr(whole, name)[others], 2e-3, 1e-3, name)
        self.assertEqual(set(found.captions[2].ravel().tolist()), {self.text.special.pad})
        examples = self.examples(found, pictures)
        self.assertEqual(examples.weights.tolist(), [1, 1, 0, 1, 1])
        drawn = np.concatenate([loop.Order(examples.weights, 2, 7).rows(step) for step in range(4)])
        self.assertEqual(sorted(drawn[:4].tolist()), others)
        self.assertEqual(sorted(drawn[4:].tolist()), others)

    def test_nothing_is_left(self):
        with self.assertRaisesRegex(ConfigError, "there is nothing to train on"):
            loop.Order(np.zeros(3), 2, 1)

    def test_texts_that_are_none(self):
        files = {"a.jpg": self.jpeg((1, 2, 3)), "a.json": b'{"caption": null}', "b.jpg": b"",
                 "b.json": b'{"caption": [1]}'}  # fmt: skip
        self.shard("x.tar", files)
        pictures = open_pictures([{"source": "shards", "pattern": "x.tar", "caption": "json"}], self.folder, "captions")
        self.assertEqual(pictures[0].captions, [])
        with self.assertRaisesRegex(ConfigError, r"x.tar: /b's 'caption' is \[1\]: a text is wanted"):
            pictures[1]

    def test_a_malformed_text_is_left_out_as_a_damaged_picture_is(self):
        files = {f"{i}.jpg": self.jpeg((i, i, i)) for i in range(4)}
        files |= {f"{i}.json": b'{"caption": "a cat"}' for i in range(4)} | {"2.json": b'{"caption": "a c'}
        self.shard("x.tar", files)
        pictures = open_pictures([{"source": "shards", "pattern": "x.tar", "caption": "json"}], self.folder, "captions")
        said = io.StringIO()
        with contextlib.redirect_stderr(said):
            found = Reader(pictures, 0.25).read(range(4))
        self.assertEqual([about.name for _, about in found], ["/0", "/1", "/3"])
        self.assertIn("left out:", said.getvalue())
        self.assertIn("x.tar: /2's .json has no 'caption'", said.getvalue())
        with self.assertRaisesRegex(ConfigError, "1 of 4 pictures cannot be read, more than bad_pictures"):
            Reader(pictures, 0.2).read(range(4))


class Cache(InShards):
    def test_other_pictures_are_not_taken_for_these(self):
        self.filled(self.shards())
        for count in (4, 6):
            for path in self.folder.glob("*.tar"):
                path.unlink()
            with self.assertRaisesRegex(ConfigError, "was made of other pictures"):
                self.filled(self.shards(count=count))

    def test_arrays_of_another_size_are_named(self):
        pictures = self.shards()
        (self.folder / "features").mkdir()
        np.save(self.folder / "features/grids.npy", np.zeros((5, 1, 1), "<f2"))
        with self.assertRaisesRegex(ConfigError, r"grids.npy holds float16 \(5, 1, 1\), <f2 \(5, 4, 256\) is wanted"):
            self.filled(pictures)

    def test_what_is_noted_is_not_made_again(self):
        """Also by another number of processes than began, and behind a note that was cut off."""
        pictures = self.shards()
        whole = self.filled(pictures, name="whole")
        with patch.object(features, "_rows", self.only(1)), self.assertRaises(KeyboardInterrupt):
            self.filled(pictures)
        with (self.folder / "features/chunks-0.txt").open("a") as notes:
            notes.write("\n1")
        made = []
        with patch.object(features, "_rows", self.only(9, made)):
            found = self.filled(pictures)
        self.assertEqual(made, [range(2, 4), range(4, 5)])
        for name in ("grids", "captions", "proposed", "proposals", "weights"):
            self.assertTrue(np.array_equal(getattr(found, name), getattr(whole, name)), name)

    def only(self, most, made=None):
        """Stands in for _rows: that many calls do their work, the next one is the end."""
        really, made = features._rows, [] if made is None else made

        def rows(arrays, which, *others):
            if len(made) == most:
                raise KeyboardInterrupt
            made.append(which)
            really(arrays, which, *others)

        return rows

    def test_processes_share_the_chunks(self):
        pictures, made = self.shards(), []
        with (patch.object(features, "wait_for_all"),
              patch.object(features, "_rows", side_effect=lambda _, which, *__: made.append(which.start // 2))):
            for rank in (0, 1):
                arrays = features._arrays(self.folder, self.model.config, len(pictures), 1)
                extraction = Extraction(self.model, self.text, ALONE.device)
                with patch.object(features, "CHUNK", 2), patch.object(Path, "glob", return_value=[]):
                    features._fill(self.folder, arrays, Reader(pictures, 0), extraction,
                                   loop.World(rank, 2, ALONE.device, False))  # fmt: skip
        self.assertEqual(made, [0, 2, 1])

    def test_concepts_said_are_those_of_the_extractor(self):
        found, path = self.filled(self.shards()), self.folder / "said.npz"
        said_of(path, found, self.model, ALONE)
        before = path.read_bytes()
        said_of(path, found, self.model, ALONE)
        self.assertEqual(path.read_bytes(), before)
        with torch.no_grad():
            self.model.concept_extractor.vocabulary.neg_()
        said_of(path, found, self.model, ALONE)
        self.assertNotEqual(path.read_bytes(), before)


class Captions(InShards):
    def test_one_that_is_cut_does_not_end(self):
        special = self.text.special
        ids = caption_ids(["a a a a", "a a a a a"], (2, 6), self.text)
        self.assertEqual(ids[0].tolist(), [special.cls, 5, 5, 5, 5, special.sep])
        self.assertEqual(ids[1].tolist(), [special.cls, 5, 5, 5, 5, 5])

    def test_references_are_whole(self):
        pictures = self.shards(count=9)
        examples = self.examples(self.filled(pictures), pictures)
        self.assertEqual(examples.references(8), ["a a a a a a a a dog"])

    def test_a_picture_without_one_never_comes(self):
        class Silent:
            def __len__(self):
                return 3

            def __getitem__(self, i):
                return Picture(str(i), [] if i == 1 else ["a dog"])

            def pixels(self, i):
                return np.full((64, 64, 3), 40 * i, np.uint8)

        found = self.filled(Silent())
        self.assertEqual(self.examples(found, Silent()).weights.tolist(), [1, 0, 1])


class Objects(InShards):
    def test_what_is_cut_off_is_not_the_whole_frame(self):
        """An 80 x 40 picture, of which the middle is seen, twice as large."""
        way = EncoderGeometry((2.0, 2.0), (40, 0), 80)
        for box, share in (((20, 0, 60, 40), 1), ((0, 10, 20, 20), 0), ((10, 10, 30, 20), 0.5), ((30, 5, 30, 20), 0),
                           ((0, 0, 80, 40), 0.5), ((70, 0, 90, 10), 0)):  # fmt: skip
            self.assertAlmostEqual(seen_share(way, box), share, msg=str(box))


class Stages(InShards):
    def test_what_is_not_trained_to_its_end_is_refused(self):
        vocabulary = self.text.vocabulary
        with self.assertRaisesRegex(ConfigError, "model.pt is not there: run the stage concepts first"):
            checkpoints.exported(self.folder, "concepts")
        checkpoints.export(self.folder, self.model, vocabulary, LABELS, 4, 10)
        with self.assertRaisesRegex(ConfigError, "is at step 4 of 10: run the stage concepts to its end first"):
            checkpoints.exported(self.folder, "concepts")
        checkpoints.export(self.folder, self.model, vocabulary, LABELS, 10, 10)
        checkpoints.exported(self.folder, "concepts")

    def test_a_run_goes_on_with_what_it_began_with(self):
        class Task:
            def __init__(self):
                self.module, self.weights, self.notes = nn.Linear(2, 1), np.ones(4), {}

            def losses(self, rows, rng):
                return {"loss": self.module(torch.ones(len(rows), 2)).pow(2).mean()}

        begun, masks = Schedule(steps=4, batch=2), choices(StudentPretraining())
        self.assertFalse(loop.run(Task(), begun, self.folder / "run", ALONE, 1, settings=masks))
        for other, world, expected in (
            (Schedule(steps=4, batch=2, weight_decay=0.5), ALONE, "begun with weight_decay 0.05, now it is 0.5"),
            (Schedule(steps=4, batch=2, dropout=0.2), ALONE, "begun with dropout 0.1, now it is 0.2"),
            (Schedule(steps=4, batch=4), ALONE, "begun with batch 2, now it is 4"),
            (begun, loop.World(0, 2, ALONE.device, False), "begun with processes 1, now it is 2"),
        ):
            with self.assertRaisesRegex(ConfigError, expected):
                loop.run(Task(), other, self.folder / "run", world, settings=masks)
        other = choices(StudentPretraining(masking=Masking(share=0.3)))
        with self.assertRaisesRegex(ConfigError, "begun with masking.share 0.15, now it is 0.3"):
            loop.run(Task(), begun, self.folder / "run", ALONE, settings=other)
        self.assertEqual(masks["distilled.teachers"], [0, 1, 2])
        self.assertTrue(loop.run(Task(), begun, self.folder / "run", ALONE, settings=masks))
        lines = (self.folder / "run/log.jsonl").read_text().splitlines()
        self.assertEqual([json.loads(line)["step"] for line in lines], [4])


if __name__ == "__main__":
    torch.set_num_threads(1)
    unittest.main()
