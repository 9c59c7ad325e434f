"""Readers of what people have, with files that are damaged: pictures, captions, objects, checkpoints.

Usage: training_sources_test.py    (exit code 77, skipped, without PyTorch, NumPy and Pillow)
"""

import gzip
import io
import sys
import tarfile
import unittest
from pathlib import Path
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
    from models.training import assembly
    from models.training.config import ConfigError, TrainingConfig
    from models.training.run import Run
    from models.training.sources import Picture, bert, clip, lcw, yolo
    from tests.training_folder import COCO, DEMO, InFolder
except ImportError as error:
    print(f"skipped: {error}")
    sys.exit(77)


class Pictures(InFolder):
    def test_coco(self):
        self.picture("images/a.png")
        self.picture("images/b.png", (1, 2, 3))
        self.write("captions.json", COCO)
        kinds = [{"id": 3, "name": "zebra"}]
        boxes = [{"image_id": 9, "category_id": 3, "bbox": [1, 2, 10, 20], "iscrowd": 0},
                 {"image_id": 9, "category_id": 3, "bbox": [0, 0, 40, 30], "iscrowd": 1}]  # fmt: skip
        self.write("instances.json", {"images": COCO["images"], "annotations": boxes, "categories": kinds})
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
        self.write("captions.json", COCO)
        boxes = [{"image_id": i, "category_id": 3, "bbox": [1, 2, 10, 20]} for i in (7, 9)]
        self.write("instances.json", {"images": COCO["images"], "annotations": boxes,
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
        boxes = {"images": COCO["images"], "categories": [{"id": 1, "name": "x"}]}
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
        self.refused("0.tar: x/1's .json has no 'text', and all of the first 2", source="shards", pattern="0.tar",
                     caption="json", key="text")  # fmt: skip

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


if __name__ == "__main__":
    unittest.main()
