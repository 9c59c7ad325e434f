"""The parts of models/training by themselves: readers of what people have, with files that are damaged;
distillation, masks, CIDEr-D, batched decoding, the order of examples, results for nocaps.

Usage: training_parts_test.py    (exit code 77, skipped, without PyTorch, NumPy and Pillow)
"""

import contextlib
import gzip
import io
import json
import os
import sys
import tarfile
import tempfile
import unittest
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
try:
    import numpy as np
    import torch
    from PIL import Image
    from torch import nn

    from models.reference.config import Config
    from models.reference.image_encoder import ImageEncoder
    from models.reference.lightcap import Captioner, LightCap
    from models.reference.text import SPECIAL, WordPiece
    from models.training import assembly, checkpoints, cider, distillation, evaluate, fusion, loop, sampling
    from models.training.cider import CiderD, Frequencies, spoken
    from models.training.cider_task import CiderTask
    from models.training.config import CiderTraining, ConfigError, Masking, Schedule, TrainingConfig, load, updated
    from models.training.examples import hide
    from models.training.run import Run
    from models.training.sources import Picture, bert, clip, lcw, open_pictures, yolo
    from models.training.stages import in_captions
except ImportError as error:
    print(f"skipped: {error}")
    sys.exit(77)

DEMO = Path(__file__).resolve().parent.parent / "models/demo/scenes.lcw"


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


class Pictures(InFolder):
    COCO = {
        "images": [{"id": 7, "file_name": "a.png"}, {"id": 9, "file_name": "b.png"},
                   {"id": 11, "file_name": "silent.png"}],
        "annotations": [{"image_id": 9, "caption": "two zebras"}, {"image_id": 7, "caption": "a horse"},
                        {"image_id": 9, "caption": "zebras"}],
    }  # fmt: skip

    def test_coco(self):
        self.picture("images/a.png")
        self.picture("images/b.png", (1, 2, 3))
        self.write("captions.json", self.COCO)
        kinds = [{"id": 3, "name": "zebra"}]
        boxes = [{"image_id": 9, "category_id": 3, "bbox": [1, 2, 10, 20], "iscrowd": 0},
                 {"image_id": 9, "category_id": 3, "bbox": [0, 0, 40, 30], "iscrowd": 1}]  # fmt: skip
        self.write("instances.json", {"images": self.COCO["images"], "annotations": boxes, "categories": kinds})
        both = self.open(source="coco", images="images", captions="captions.json", instances="instances.json")
        self.assertEqual(len(both), 2)  # of silent.png nothing is said
        self.assertEqual(both[0].captions, ["a horse"])
        self.assertEqual(both[1].captions, ["two zebras", "zebras"])
        self.assertEqual(both[1].objects, [("zebra", (1.0, 2.0, 11.0, 22.0))])
        self.assertEqual(both.pixels(1)[0, 0].tolist(), [1, 2, 3])

    def test_karpathys_split(self):
        self.picture("images/val2014/a.png")
        image = {"cocoid": 7, "filename": "a.png", "filepath": "val2014", "sentences": [{"raw": "A horse."}]}
        self.write("k.json", {"images": [image | {"split": "restval"}, image | {"cocoid": 8, "split": "test"}]})
        train = self.open(source="coco", images="images", karpathy="k.json")
        self.assertEqual([train[i].captions for i in range(len(train))], [["A horse."]])
        self.assertEqual(train.pixels(0).shape, (30, 40, 3))

    def test_karpathys_split_restricts_other_files(self):
        """Beside captions or instances it adds no picture and leaves out those of other splits."""
        (self.folder / "images").mkdir()
        parts = {7: "restval", 9: "test", 12: "train"}
        self.write("k.json", {"images": [
            {"cocoid": i, "filename": f"{i}.png", "split": part, "sentences": [{"raw": f"Said of {i}."}]}
            for i, part in parts.items()]})  # fmt: skip
        self.write("captions.json", self.COCO)
        boxes = [{"image_id": i, "category_id": 3, "bbox": [1, 2, 10, 20]} for i in (7, 9)]
        self.write("instances.json", {"images": self.COCO["images"], "annotations": boxes,
                                      "categories": [{"id": 3, "name": "zebra"}]})  # fmt: skip
        common = {"source": "coco", "images": "images", "karpathy": "k.json"}
        train = self.open(**common, captions="captions.json")
        self.assertEqual([(p.name, p.captions) for p in map(train.__getitem__, range(len(train)))],
                         [("a.png", ["a horse"])])  # fmt: skip
        regions = self.open(**common, instances="instances.json")
        self.assertEqual(len(regions), 1)
        self.assertEqual((regions[0].captions, len(regions[0].objects)), (["Said of 7."], 1))
        test = self.open(**common, captions="captions.json", split="test")
        self.assertEqual([test[i].name for i in range(len(test))], ["b.png"])
        self.refused("has no picture", **common, captions="captions.json", split="val")

    def test_coco_malformed(self):
        (self.folder / "images").mkdir()
        spec = {"source": "coco", "images": "images"}
        self.refused("captions, instances or karpathy is wanted", **spec)
        self.refused("gone.json: No such file.*captions_.*json is wanted", **spec, captions="gone.json")
        self.refused("is no folder", source="coco", images="nowhere", captions="x")
        for name, value, pattern in (
            ("cut", '{"images": [', "is not JSON"),
            ("list", [], "has no 'images', 'annotations'"),
            ("no_id", {"images": [{"file_name": "a"}], "annotations": []}, "an image has no 'id'"),
            ("stray", {"images": [], "annotations": [{"image_id": 5, "caption": "x"}]},
             "image 5, which the file does not list"),
            ("mute", {"images": [], "annotations": [{"image_id": 5}]}, "an annotation has no 'caption'"),
        ):  # fmt: skip
            self.write(f"{name}.json", value)
            self.refused(f"{name}.json.*{pattern}", **spec, captions=f"{name}.json")
        boxes = {"images": self.COCO["images"], "categories": [{"id": 1, "name": "x"}]}
        for box, kind, pattern in (([1, 2, 3], 1, "bbox is"), ([1, 2, 3, 4], 2, "category 2")):
            note = {"image_id": 7, "category_id": kind, "bbox": box}
            self.write("instances.json", boxes | {"annotations": [note]})
            self.refused(pattern, **spec, instances="instances.json")

    def test_visual_genome(self):
        self.picture("VG_100K_2/5.jpg")
        (self.folder / "VG_100K").mkdir()
        thing = {"names": ["Tree ", "oak"], "x": 1, "y": 2, "w": 3, "h": 4}
        self.write("objects.json", [{"image_id": 5, "objects": [thing, thing | {"names": []}]},
                                    {"image_id": 6, "objects": []}])  # fmt: skip
        spec = {"source": "visual_genome", "images": ["VG_100K", "VG_100K_2"]}
        regions = self.open(**spec, objects="objects.json")
        self.assertEqual(len(regions), 1)
        self.assertEqual(regions[0].objects, [("tree", (1.0, 2.0, 4.0, 6.0))])
        self.assertEqual(regions.pixels(0).shape, (30, 40, 3))
        names = (["  "], ["Tree, bush", "x"], [", bush"])
        self.write("odd.json", [{"image_id": 5, "objects": [thing | {"names": n} for n in names]}])
        self.assertEqual([name for name, _ in self.open(**spec, objects="odd.json")[0].objects], ["tree"])
        self.write("dict.json", {})
        self.refused("is no list of pictures", **spec, objects="dict.json")
        self.write("bare.json", [{"image_id": 5, "objects": [{"names": ["x"]}]}])
        self.refused("an object has no 'x', 'y', 'w', 'h'", **spec, objects="bare.json")

    def test_visual_genome_without_what_is_evaluated(self):
        (self.folder / "VG").mkdir()
        thing = {"names": ["tree"], "x": 1, "y": 2, "w": 3, "h": 4}
        self.write("objects.json", [{"image_id": i, "objects": [thing]} for i in (1, 2, 3, 4)])
        self.write("k.json", {"images": [
            {"cocoid": i, "filename": f"{i}.jpg", "split": part, "sentences": []}
            for i, part in ((70, "val"), (80, "test"), (90, "restval"))]})  # fmt: skip
        pairs = ((1, 70), (2, None), (3, 80), (4, 90))
        self.write("image_data.json", [{"image_id": i, "coco_id": coco} for i, coco in pairs])
        spec = {"source": "visual_genome", "images": "VG", "objects": "objects.json"}
        kept = self.open(**spec, karpathy="k.json", image_data="image_data.json")
        self.assertEqual([kept[i].name for i in range(len(kept))], ["2.jpg", "4.jpg"])
        self.assertEqual(len(self.open(**spec)), 4)
        self.refused("karpathy and image_data are wanted together", **spec, karpathy="k.json")
        self.write("image_data.json", [{"image_id": 1}])
        self.refused("a picture has no 'coco_id'", **spec, karpathy="k.json", image_data="image_data.json")

    def test_folder(self):
        self.picture("p/a.png")
        self.refused("no picture with a .txt", source="folder", images="p")
        self.write("p/a.txt", "a dog\n\na puppy\n")
        self.assertEqual(self.open(source="folder", images="p")[0].captions, ["a dog", "a puppy"])

    def test_shards(self):
        with tarfile.open(self.folder / "0.tar", "w") as tar:
            for stem, colour in (("x/1", (9, 8, 7)), ("x/2", (5, 5, 5))):
                data = io.BytesIO()
                Image.new("RGB", (8, 6), colour).save(data, "PNG")
                members = {"png": data.getvalue(), "txt": b"a\ncat ", "json": b'{"caption": "said"}'}
                for suffix, content in members.items():
                    info = tarfile.TarInfo(f"{stem}.{suffix}")
                    info.size = len(content)
                    tar.addfile(info, io.BytesIO(content))
        shards = self.open(source="shards", pattern="*.tar")
        self.assertEqual([shards[i].captions for i in range(2)], [["a cat"]] * 2)
        self.assertEqual(shards.pixels(0)[0, 0].tolist(), [9, 8, 7])
        self.assertEqual(self.open(source="shards", pattern="*.tar", caption="json")[1].captions, ["said"])
        self.refused("names no file", source="shards", pattern="*.tgz")
        self.refused("no picture with a .cap", source="shards", pattern="*.tar", caption="cap")
        (self.folder / "1.tar").write_bytes(b"no tar at all")
        self.refused("1.tar.*an uncompressed tar file is wanted", source="shards", pattern="1.tar")
        wrong = self.open(source="shards", pattern="0.tar", caption="json", key="text")
        with self.assertRaisesRegex(ConfigError, "has no 'text'"):
            wrong[0]

    def test_sources_are_named(self):
        self.refused("source is 'imagenet': one of coco", source="imagenet")
        self.refused("No module named", source="no.such:Thing")
        self.refused("unexpected keyword argument 'colour'", source="folder", images="p", colour=1)


class Clip(nn.Module):
    """A CLIP of a tiny ResNet and a tiny text tower, by its own names."""

    def __init__(self, tower):
        super().__init__()
        self.visual = ImageEncoder(8, (1, 1, 1, 1))
        self.visual.attnpool = nn.Linear(2, 2)
        for name, module in tower.named_children():
            setattr(self, name, module)
        for name in ("positional_embedding", "text_projection"):
            self.register_parameter(name, getattr(tower, name))

    def forward(self, x):
        return x


def tiny_tower():
    state = {"token_embedding.weight": torch.zeros(516, 64), "positional_embedding": torch.zeros(77, 64),
             "text_projection": torch.zeros(64, 12), "transformer.resblocks.0.ln_1.weight": torch.zeros(64)}
    torch.manual_seed(1)
    tower = clip.TextTower(state)
    for p in tower.parameters():
        nn.init.normal_(p, std=0.1)
    return tower.eval()


class Checkpoints(InFolder):
    def test_clip(self):
        tower, path = tiny_tower(), self.folder / "RN50.pt"
        whole = Clip(tower).half().eval()
        torch.save(whole.state_dict(), path)
        archive = self.folder / "jit.pt"
        torch.jit.trace(whole, torch.zeros(1)).save(str(archive))
        for file in (path, archive):
            visual = clip.load_visual(file)
            self.assertEqual(set(visual), {f"image_encoder.{n}" for n in ImageEncoder(8, (1,) * 4).state_dict()})
            self.assertTrue(torch.equal(visual["image_encoder.conv1.weight"], whole.visual.conv1.weight.float()))
        tokenizer = self.tokenizer()
        said = clip.embed(clip.load_text_tower(archive), tokenizer, ["a photo of a cat", "a photo of a bird"])
        with torch.no_grad():
            expected = whole.float()
            alone = clip.TextTower(expected.state_dict())
            alone.load_state_dict({n: v for n, v in expected.state_dict().items() if n in alone.state_dict()})
            ids = tokenizer(["a photo of a cat"])
            self.assertTrue(torch.allclose(alone(ids), said[:1], atol=1e-6))
            # Padding behind the end of the text is nothing to it.
            self.assertTrue(torch.allclose(alone(ids[:, : int((ids > 0).sum()) + 1]), said[:1], atol=1e-6))
        self.assertTrue(torch.allclose(said.norm(dim=1), torch.ones(2), atol=1e-5))

    def test_attention_of_the_text_tower_is_causal(self):
        tower = tiny_tower()
        x = torch.tensor([[514, 3, 9, 515] + [0] * 73])
        other = x.clone()
        other[0, 4:] = 77
        with torch.no_grad():
            self.assertTrue(torch.equal(tower(x), tower(other)))

    def tokenizer(self):
        pairs = ["c a", "ca t</w>"]
        path = self.folder / "bpe.txt.gz"
        path.write_bytes(gzip.compress(("#version\n" + "\n".join(pairs) + "\n").encode()))
        return clip.Tokenizer(path)

    def test_byte_pairs(self):
        tokenizer = self.tokenizer()
        names = {i: token for token, i in tokenizer.ids.items()}
        ids = tokenizer(["Cat  cats caf\u00e9!"])[0]
        self.assertEqual([names[i] for i in ids[: int((ids > 0).sum())].tolist()],
                         ["<|startoftext|>", "cat</w>", "ca", "t", "s</w>", "ca", "f", "\u00c3", "\u00a9</w>",
                          "!</w>", "<|endoftext|>"])  # fmt: skip
        self.assertEqual(ids.shape, (77,))

    def test_a_text_tower_is_whole(self):
        path, state = self.folder / "RN50.pt", tiny_tower().state_dict()
        del state["transformer.resblocks.0.mlp.c_fc.bias"]
        torch.save(state, path)
        with self.assertRaisesRegex(ConfigError, "lacks transformer.resblocks.0.mlp.c_fc.bias of its text tower"):
            clip.load_text_tower(path)

    def whole(self, **settings):
        """A configuration whose inputs.model is the demo model's state dict, and that."""
        state, config, vocabulary, _ = lcw.load_lcw(DEMO)
        self.write("vocab.txt", "\n".join(vocabulary) + "\n")
        blocks = {name: vars(getattr(config, name)) for name in ("image_encoder", "fusion", "concept_extractor",
                                                                 "modulator")}  # fmt: skip
        training = TrainingConfig(folder=str(self.folder), model=blocks)
        training.inputs.model, training.inputs.vocabulary = "model.pt", "vocab.txt"
        return training, state

    def test_a_block_is_whole_or_not_there(self):
        config, state = self.whole()
        torch.save(state, self.folder / "model.pt")
        assembly.assemble(assembly.start(config), 0.02, 1)
        counts = {name: value for name, value in state.items() if not name.endswith("num_batches_tracked")}
        torch.save(counts, self.folder / "model.pt")
        assembly.assemble(assembly.start(config), 0.02, 1)
        for name in ("image_encoder.conv1.weight", "image_encoder.conv3.weight", "detector.model.1.conv.weight",
                     "image_encoder.layer3.0.bn2.running_var", "detector.model.24.anchors",
                     "detector.model.13.cv3.bn.bias", "concept_extractor.proj.0.bias",
                     "bert.embeddings.position_embeddings.weight",
                     "bert.encoder.layer.1.output.dense.weight", "head.branches.2.dense.bias",
                     "modulator.fc1.weight"):  # fmt: skip
            torch.save({n: v for n, v in state.items() if n != name}, self.folder / "model.pt")
            with self.subTest(name=name), self.assertRaisesRegex(ConfigError, f"the inputs lack .*{name}"):
                assembly.assemble(assembly.start(config), 0.02, 1)
        for name in ("image_encoder.conv3.weight", "bert.embeddings.word_embeddings.weight"):
            torch.save(state | {name: torch.tensor(1.0)}, self.folder / "model.pt")
            with self.subTest(name=name), self.assertRaisesRegex(ConfigError, "of fewer dimensions"):
                assembly.start(config)
        rest = {n: v for n, v in state.items() if not n.startswith(("detector.", "bert."))}
        torch.save(rest, self.folder / "model.pt")
        assembly.assemble(assembly.start(config), 0.02, 1)

    def test_a_block_is_of_one_file(self):
        """The encoder of inputs.clip replaces that of inputs.model, which fills none of its gaps."""
        config, state = self.whole()
        torch.save(state, self.folder / "model.pt")
        visual = {n.replace("image_encoder.", "visual."): v for n, v in state.items()
                  if n.startswith("image_encoder.")}  # fmt: skip
        del visual["visual.bn2.weight"]
        torch.save(visual, self.folder / "RN50.pt")
        config.inputs.clip = "RN50.pt"
        with self.assertRaisesRegex(ConfigError, "the inputs lack 1 of .*: image_encoder.bn2.weight"):
            assembly.assemble(assembly.start(config), 0.02, 1)

    def test_a_malformed_model(self):
        config, state = self.whole()
        path = self.folder / "model.pt"
        for write, pattern in (
            (lambda: path.unlink(missing_ok=True), "No such file"),
            (lambda: path.write_bytes(b"<html>not found</html>"), "is no file of tensors"),
            (lambda: path.write_bytes(b""), "is no file of tensors"),
            (lambda: torch.save([1, 2], path), "is no dictionary of tensors"),
            (lambda: torch.save({"state_dict": state}, path), "is no dictionary of tensors"),
            (lambda: torch.save(nn.Linear(2, 2), path), "is no file of tensors"),
        ):
            write()
            with self.assertRaisesRegex(ConfigError, f"inputs.model .*model.pt.*{pattern}.*a .lcw model or a"
                                                     " LightCap state dict is wanted"):  # fmt: skip
                assembly.start(config)
        torch.save(state, path)
        config.inputs.model_blocks = ["encoder"]
        with self.assertRaisesRegex(ConfigError, "has no tensor of encoder, which inputs.model_blocks names"):
            assembly.start(config)

    def test_clip_malformed(self):
        path = self.folder / "RN50.pt"
        with self.assertRaisesRegex(ConfigError, "is not there: OpenAI's RN50.pt is wanted"):
            clip.load_visual(path)
        path.write_bytes(b"PK\x03\x04 cut")
        with self.assertRaisesRegex(ConfigError, "neither TorchScript nor a state dict"):
            clip.load_visual(path)
        torch.save({"visual.transformer.x": torch.zeros(2)}, path)
        with self.assertRaisesRegex(ConfigError, "not a ViT"):
            clip.load_visual(path)
        with self.assertRaisesRegex(ConfigError, "has no token_embedding.weight.*text tower"):
            clip.load_text_tower(path)
        self.write("merges.txt", "x\none two three\n")
        with self.assertRaisesRegex(ConfigError, "is no list of pairs"):
            clip.Tokenizer(self.folder / "merges.txt")

    def bert(self, **changed):
        """A folder with a tiny BERT under Hugging Face's names, with old ones for the norms."""
        vocabulary = [*SPECIAL, "a", "cat", "##s"]
        config = Config().update({"fusion": {"width": 8, "layers": 2, "heads": 2, "feed_forward": 12,
                                             "vocabulary": len(vocabulary), "positions": 70}})  # fmt: skip
        config.image_encoder.width, config.detector.widths = 4, (4, 4, 4, 4, 4)
        torch.manual_seed(2)
        state = {name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"):
                 value for name, value in LightCap(config).state_dict().items() if name.startswith("bert.")}
        state |= {"bert.pooler.dense.weight": torch.zeros(8, 8), "cls.predictions.bias": torch.zeros(8)}
        about = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "hidden_act": "gelu"}
        self.write("bert/config.json", about | changed)
        self.write("bert/vocab.txt", "\n".join(vocabulary) + "\n")
        torch.save(state, self.folder / "bert/pytorch_model.bin")
        return state

    def test_bert(self):
        state = self.bert()
        self.assertEqual(bert.load_bert(self.folder / "bert").layer_norm_eps, 1e-12)
        self.bert(layer_norm_eps=1e-7)
        read = bert.load_bert(self.folder / "bert")
        self.assertEqual((read.heads, len(read.vocabulary)), (2, 8))
        kept = [n for n in state if "pooler" not in n and "cls" not in n]
        self.assertEqual(len(read.state), len(kept))
        self.assertTrue(torch.equal(read.state["bert.embeddings.LayerNorm.weight"],
                                    state["bert.embeddings.LayerNorm.gamma"]))  # fmt: skip
        # A model is made of it whose sizes are its own.
        config = TrainingConfig(folder=str(self.folder), model={"image_encoder": {"width": 4}})
        config.inputs.bert = "bert"
        begin = assembly.start(config)
        model = assembly.assemble(begin, 0.02, 1)
        self.assertEqual((model.config.fusion.layers, model.config.fusion.layer_norm_eps), (2, 1e-7))
        self.assertTrue(torch.equal(model.word_embeddings, state["bert.embeddings.word_embeddings.weight"]))

    def test_bert_malformed(self):
        folder = self.folder / "bert"
        for changed, pattern in (
            ({"hidden_act": "relu"}, "hidden_act is 'relu'"),
            ({"num_hidden_layers": 3}, "lack bert.encoder.layer.2.attention.self.query.weight, .* and 11 more"),
            ({"num_hidden_layers": 1}, "have bert.encoder.layer.1.* of config.json's 1 layers has not"),
            ({"num_hidden_layers": "2"}, "numbers from 1 are wanted"),
            ({"layer_norm_eps": "small"}, "layer_norm_eps is 'small'"),
            ({"num_attention_heads": 3}, "3 heads"),
        ):
            self.bert(**changed)
            with self.assertRaisesRegex(ConfigError, pattern):
                bert.load_bert(folder)
        for name in ("bert.embeddings.position_embeddings.weight", "bert.embeddings.LayerNorm.gamma",
                     "bert.encoder.layer.0.attention.self.key.bias"):  # fmt: skip
            state = self.bert()
            del state[name]
            torch.save(state, folder / "pytorch_model.bin")
            with self.assertRaisesRegex(ConfigError, f"lack {name.replace('gamma', 'weight')}, by config"):
                bert.load_bert(folder)
        self.bert()
        self.write("bert/vocab.txt", "\n".join([*SPECIAL, "a", "Cat", "##s"]) + "\n")
        with self.assertRaisesRegex(ConfigError, "1 tokens with capitals, Cat among them: an uncased BERT"):
            bert.load_bert(folder)
        self.bert()
        self.write("bert/vocab.txt", "a\n")
        with self.assertRaisesRegex(ConfigError, "has 1 tokens, the word embedding 8"):
            bert.load_bert(folder)
        (folder / "pytorch_model.bin").write_bytes(b"PK\x03\x04")
        with self.assertRaisesRegex(ConfigError, "pytorch_model.bin is damaged"):
            bert.load_bert(folder)
        (folder / "pytorch_model.bin").unlink()
        with self.assertRaisesRegex(ConfigError, "neither model.safetensors nor pytorch_model.bin"):
            bert.load_bert(folder)
        with self.assertRaisesRegex(ConfigError, "is no folder"):
            bert.load_bert(self.folder / "nowhere")

    def test_labels(self):
        config, state = self.whole()
        torch.save(state, self.folder / "model.pt")
        config.inputs.labels = "labels.txt"
        for text, pattern in (("a\n\nb\n", "line 2 has no label"), ("a\n, b\n", "line 2 has no label"),
                              ("tree, bush\nb\ntree\n", "line 3 is 'tree', as line 1 is")):  # fmt: skip
            self.write("labels.txt", text)
            with self.assertRaisesRegex(ConfigError, f"inputs.labels labels.txt: {pattern}"):
                assembly.start(config)
        self.write("labels.txt", "tree, bush\nb \n")
        self.assertEqual(assembly.start(config).labels, ["tree", "b"])

    def test_the_commonest_names(self):
        """Cut at their comma, as the labels that they become are; no name without a word in it."""
        names = ["tree, bush", "tree", "cat", " ", ", x", "cat", "tree"]
        pictures = [Picture("p", [], [(name, (0, 0, 9, 9)) for name in names])]
        config = TrainingConfig(concept_count=5)
        with mock.patch.object(Run, "pictures", lambda *_: pictures):
            self.assertEqual(Run(config, self.folder, None)._commonest(), ["tree", "cat"])

    def test_yolo_malformed(self):
        with self.assertRaisesRegex(ConfigError, "is not there: Ultralytics' yolov5n.pt is wanted"):
            yolo.load_detector(self.folder / "yolov5n.pt")
        torch.save({"weights": torch.zeros(3)}, self.folder / "yolov5n.pt")
        with self.assertRaisesRegex(ConfigError, "is no YOLOv5 checkpoint"):
            yolo.load_detector(self.folder / "yolov5n.pt")
        state = {n: v for n, v in lcw.load_lcw(DEMO)[0].items() if n.startswith("detector.")}
        del state["detector.model.24.m.1.bias"]
        with mock.patch.object(yolo, "load_yolo", lambda _: dict(state)), \
                self.assertRaisesRegex(ConfigError, "has no detector.model.24.m.1.bias: a YOLOv5"):  # fmt: skip
            yolo.load_detector(self.folder / "yolov5n.pt")

    def test_a_lcw_model_comes_back_whole(self):
        state, config, vocabulary, labels = lcw.load_lcw(DEMO)
        model = LightCap(config)
        model.load_state_dict(state)  # every name, no other
        captioner = Captioner(model, WordPiece(vocabulary), labels)
        picture = np.asarray(Image.open(DEMO.parent / "pictures/meadow.png").convert("RGB"))
        self.assertEqual(captioner.caption(picture).caption,
                         "a small purple flower under a yellow balloon in a meadow")  # fmt: skip
        with self.assertRaisesRegex(ConfigError, "a .lcw model is wanted"):
            lcw.load_lcw(self.write("x.lcw", "nothing" * 30))
        data = DEMO.read_bytes()
        for cut in (0, 10, 100, 1000, len(data) // 2):
            (self.folder / "cut.lcw").write_bytes(data[:cut])
            with self.assertRaisesRegex(ConfigError, "cut.lcw.*a .lcw model is wanted"):
                lcw.load_lcw(self.folder / "cut.lcw")


class Settings(InFolder):
    def test_errors_say_where(self):
        for text, pattern in (
            ('{"caption": {"schedule": {"step": 3}}}', "caption.schedule.step is unknown; known are batch"),
            ('{"caption": {"schedule": {"steps": "3"}}}', "caption.schedule.steps is '3': a int is wanted"),
            ('{"caption": {"schedule": {"batch": 0}}}', "caption.schedule: batch is 0: 1 or more is wanted"),
            ('{"cider": {"schedule": {"save_every": 0}}}', "cider.schedule: save_every is 0"),
            ('{"caption": {"schedule": {"log_every": 0}}}', "caption.schedule: log_every is 0"),
            ('{"encoder": {"schedule": {"steps": -5}}}', "encoder.schedule: steps is -5: 0 or more"),
            ('{"caption": {"distilled": {"teachers": [0, 1, 7]}}}',
             r"caption.distilled.teachers is \[0, 1, 7\]: teachers.count is 3"),
            ('{"teachers": {"count": 2}}', r"pretrain.distilled.teachers is \[0, 1, 2\]: teachers.count is 2"),
            ('{"pretrain": {"distilled": {"teachers": [0, 1, -1]}}}',
             r"pretrain.distilled: teachers is \[0, 1, -1\]: they are counted from 0"),
            ('{"pretrain": {"distilled": {"teachers": [0, 1, "2"]}}}', r"teachers\[2\] is '2': a int is wanted"),
            ('{"captions": ["coco"]}', r"captions\[0\] is 'coco': a dict is wanted"),
            ('{"concept_count": 0}', "concept_count is 0: 1 or more is wanted"),
            ('{"caption": 3}', "caption is 3: an object of settings is wanted"),
            ("{", "is not JSON"),
        ):
            with self.assertRaisesRegex(ConfigError, pattern):
                load(self.write("c.json", text))
        with self.assertRaisesRegex(ConfigError, "c.json: No such file"):
            load(self.folder / "gone/c.json")

    def test_one_setting_of_a_list(self):
        path = self.write("c.json", {"captions": [{"source": "coco", "images": "y"}]})
        for override in ("captions.0.images=x", "captions.images=x", "captions.0.images.y=x"):
            with self.assertRaisesRegex(ConfigError, f"--set {override}: captions.* is no object of settings"):
                load(path, [override])
        with self.assertRaisesRegex(ConfigError, "no object of settings"):
            load(self.write("list.json", []), ["initial_std=0.1"])
        self.assertEqual(load(path, ['captions=[{"source": "folder"}]']).captions, [{"source": "folder"}])

    def test_defaults_of_a_part_stay(self):
        config = load(self.write("c.json", {"cider": {"schedule": {"batch": 8}}}), ["caption.smoothing=0.2"])
        self.assertEqual((config.cider.schedule.rate, config.cider.schedule.batch), (3e-6, 8))
        self.assertEqual(config.caption.smoothing, 0.2)
        self.assertEqual(updated(config, {}, "x"), config)

    def test_rates(self):
        schedule = Schedule(steps=10, rate=1.0, warmup=2)
        self.assertEqual([loop.rate_at(schedule, step, 10) for step in (0, 1, 5)], [0.5, 0.9, 0.5])
        self.assertEqual(Schedule(epochs=2, batch=10).length(25), 5)
        with self.assertRaisesRegex(ConfigError, "make no step"):
            Schedule().length(100)

    def test_an_epoch_is_all_captions(self):
        """Two pictures, one of three captions and one of one, behind stage 1."""
        text = WordPiece([*SPECIAL, "a"])
        said, none = [text.special.cls, 5, text.special.sep], [text.special.pad] * 3
        captions = np.array([[said, said, said], [said, none, none]])
        examples = SimpleNamespace(features=SimpleNamespace(captions=captions), text=text, weights=np.ones(2))
        self.assertEqual(in_captions(Schedule(epochs=6, batch=2), examples).steps, 12)
        self.assertEqual(in_captions(Schedule(steps=5, batch=2), examples).steps, 5)


class Losses(unittest.TestCase):
    def setUp(self):
        state, self.config, vocabulary, labels = lcw.load_lcw(DEMO)
        self.model = LightCap(self.config)
        self.model.load_state_dict(state)
        self.text = WordPiece(vocabulary)
        self.model.eval()

    def inputs(self, concepts):
        torch.manual_seed(3)
        grid = torch.randn(len(concepts), 512, 5, 5).abs()
        return fusion.prefix_of(self.model, grid, torch.tensor(concepts), 0, self.text.special.sep)

    @torch.no_grad()
    def test_batched_decoding_is_the_references(self):
        concepts = [[9, 8, 3, 0], [9, 8, 7, 3], [9, 3, 0, 0], [3, 0, 0, 0]]
        for decode in ("mask", "causal"):
            self.config.fusion.decode = decode
            prefix, seen = self.inputs(concepts)
            said = sampling.generate(self.model, prefix, seen, self.text.special, sampling.best)
            captioner = Captioner(self.model, self.text, [])
            for row, tokens in enumerate(said.tolist()):
                alone = prefix[row : row + 1, seen[row]]
                expected = captioner.decode(alone)[0].tokens
                self.assertEqual(tokens[: len(expected)], expected)
                self.assertFalse(any(tokens[len(expected) :]))

    @torch.no_grad()
    def test_attention_to_the_caption(self):
        """Causal attention does not see what comes later, the other does; neither sees padding."""
        prefix, seen = self.inputs([[9, 3]])
        caption = torch.tensor([[2, 20, 30, 40, 0]])
        filled = caption != 0
        for attention, sees in (("causal", False), ("bidirectional", True)):
            states = [fusion.hidden_states(self.model, prefix, seen, ids, filled, attention, 4)[:, :4]
                      for ids in (caption, torch.tensor([[2, 20, 30, 41, 0]]),
                                  torch.tensor([[2, 20, 30, 40, 50]]))]  # fmt: skip
            self.assertEqual(torch.allclose(states[0][:, 1], states[1][:, 1], atol=1e-6), not sees)
            self.assertTrue(torch.allclose(states[0], states[2], atol=1e-6))

    def test_layers_of_twelve(self):
        self.assertEqual(distillation.layer_map(4, 12), [3, 6, 9, 12])
        self.assertEqual(distillation.layer_map(3, 4), [1, 3, 4])

    def test_a_student_that_is_its_teacher_loses_nothing(self):
        settings = distillation.Distilled(teachers=[1, 1, 1])
        teacher = LightCap(self.config)
        teacher.load_state_dict(self.model.state_dict())
        teaching = distillation.Teaching(self.model, [None, teacher, None], settings)
        for project in teaching.projections.modules():
            if isinstance(project, nn.Linear):
                nn.init.eye_(project.weight)
                nn.init.zeros_(project.bias)
        prefix, seen = self.inputs([[9, 3, 0], [9, 8, 3]])
        caption = torch.tensor([[2, 20, 30, 3], [2, 20, 3, 0]])
        filled = caption != 0
        for model in (self.model, teacher):
            fusion.hidden_states(model, prefix, seen, caption, filled, "bidirectional", 4)
        losses = teaching.deep_losses(torch.cat((seen, filled), 1))
        logits = torch.randn(3, 5, 269)
        losses |= teaching.token_losses(logits[[1, 1, 1]], [logits[1]])
        self.assertEqual({name: float(loss.detach()) for name, loss in losses.items()},
                         {"attention": 0.0, "hidden": 0.0, "tokens": 0.0})  # fmt: skip
        self.assertGreater(float(distillation.token_loss(logits[0], logits[1], 1.0)), 0)
        with self.assertRaisesRegex(ConfigError, "one for each of the 3 branches"):
            distillation.Teaching(self.model, [teacher], distillation.Distilled(teachers=[0]))

    def test_padding_attends_to_nothing_that_is_taught(self):
        torch.manual_seed(4)
        mine, theirs = torch.randn(2, 3, 4, 4), torch.randn(2, 3, 4, 4)
        mine[:, :, :, 3], theirs[:, :, :, 3] = float("-inf"), float("-inf")  # nobody looks at the padded key
        seen = torch.tensor([[True] * 3 + [False]] * 2)
        loss = distillation.attention_loss(mine, theirs, seen)
        self.assertAlmostEqual(float(loss), float((mine - theirs)[:, :, :3, :3].pow(2).mean()), places=6)
        mine[:, :, 3, :3] = 100.0
        self.assertEqual(float(distillation.attention_loss(mine, theirs, seen)), float(loss))

    def test_captions_for_cider_are_made_without_dropout(self):
        grid, concepts = torch.randn(2, 512, 5, 5).abs(), torch.tensor([[9, 8, 3], [9, 3, 0]])
        examples = SimpleNamespace(text=self.text, weights=np.ones(2))
        world = loop.World(0, 1, torch.device("cpu"), False)
        said = []
        for dropout in (0.0, 0.9):
            settings = CiderTraining(schedule=Schedule(dropout=dropout))
            task = CiderTask(self.model, examples, world, settings, None)
            torch.manual_seed(6)
            said.append(task._captions(grid, concepts))
            self.assertTrue(task.module.training)
        for plain, dropped in zip(*said):
            self.assertTrue(torch.equal(plain, dropped))

    def test_both_baselines_teach_every_trained_block(self):
        references = ["a red balloon", "two blue cars"]
        features = SimpleNamespace(grid=lambda *_: torch.ones(2, 512, 5, 5))
        examples = SimpleNamespace(text=self.text, features=features, weights=np.ones(2),
                                   references=lambda row: [references[row]],
                                   concepts=lambda _: torch.tensor([[9, 8, 3], [9, 3, 0]]))  # fmt: skip
        world = loop.World(0, 1, torch.device("cpu"), True)
        for baseline in ("greedy", "others"):
            settings = CiderTraining(schedule=Schedule(dropout=0.1), baseline=baseline)
            scorer = CiderD(Frequencies.of([text] for text in references))
            task = CiderTask(self.model, examples, world, settings, scorer)
            self.model.zero_grad()
            task.losses(np.arange(2), np.random.default_rng(1))["cider"].backward()
            for name in ("modulator.fc1", "bert.encoder.layer.0.intermediate.dense", "head.branches.0.dense"):
                gradient = self.model.get_submodule(name).weight.grad
                self.assertGreater(float(gradient.abs().sum()), 0, f"{baseline} {name}")

    def test_masks(self):
        caption = torch.tensor([[2, *range(10, 29), 3, 0]] * 4000)
        changed, hidden = hide(caption, Masking(), self.text, np.random.default_rng(1))
        self.assertFalse(hidden[:, 0].any() or hidden[:, -1].any())
        self.assertTrue(hidden.any(1).all())
        self.assertTrue(torch.equal(changed[~hidden], caption[~hidden]))
        # 80,000 tokens, and one at least of each caption.
        self.assertAlmostEqual(float(hidden[:, 1:-1].float().mean()), 0.15 + 0.85**20 / 20, delta=0.005)
        fate = changed[hidden]
        self.assertAlmostEqual(float((fate == 4).float().mean()), 0.8, delta=0.02)
        self.assertAlmostEqual(float((fate == caption[hidden]).float().mean()), 0.1, delta=0.02)

    def test_order(self):
        order = loop.Order(np.ones(10), 4, 7)
        first = np.concatenate([order.rows(step) for step in range(5)])
        self.assertEqual(sorted(first[:10].tolist()), list(range(10)))
        self.assertEqual(sorted(first[10:].tolist()), list(range(10)))
        self.assertTrue(np.array_equal(loop.Order(np.ones(10), 4, 7).rows(3), order.rows(3)))
        often = loop.Order(np.array([1.0, 0, 3.0]), 1000, 7).rows(2)
        self.assertAlmostEqual((often == 2).mean(), 0.75, delta=0.05)
        self.assertFalse((often == 1).any())


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
        plain = self.write("captions.json", Pictures.COCO)
        status, error = self.run_main(plain, *common[1:], "--split", "test")
        self.assertEqual(status, 2)
        self.assertIn("is no dataset_coco.json of Karpathy's", error)
        instances = self.write("instances.json", {"images": Pictures.COCO["images"],
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
