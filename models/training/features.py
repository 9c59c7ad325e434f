"""The frozen blocks' output for each picture, kept on disk: every later stage reads this alone.

A folder holds, a row for each picture: grids.npy (fp16 [N, V, C]: the image encoder's output, row-major),
proposals.npy ([N, K, 4], encoder pixels) and proposed.npy ([N]: how many), captions.npy (token ids
[N, captions, slots], padded), weights.npy, geometry.npy (how encoder pixels come of a picture's); and
objects.npz: boxes [M, 4] in encoder pixels, labels [M], rows [M]. It is filled in order; `done.json` says
how far, and for which pictures and encoder.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from models.reference.preprocess import EncoderGeometry, Letterbox, detector_input, encoder_input
from models.reference.lightcap import Captioner, LightCap
from models.reference.text import WordPiece

from .config import ConfigError
from .sources import Picture, Pictures, Reader

FEW = 256  # pictures between two notes of how far it is
BATCH = 32  # of them at a time, which are in memory together


@dataclass
class Features:
    """A folder's arrays, mapped; `labels` are the objects' label indices into label_names."""

    grids: np.ndarray
    proposals: np.ndarray
    proposed: np.ndarray
    captions: np.ndarray
    weights: np.ndarray
    objects: dict[str, np.ndarray]
    label_names: list[str]
    side: int  # of the grid

    def __len__(self) -> int:
        return len(self.grids)

    def grid(self, rows: np.ndarray, device: torch.device) -> Tensor:
        """[n, C, G, G], fp32."""
        cells = torch.from_numpy(np.ascontiguousarray(self.grids[rows])).to(device).float()
        return cells.transpose(1, 2).unflatten(2, (self.side, self.side))


def fingerprint(model: LightCap, specs: list[dict[str, Any]], vocabulary: list[str]) -> str:
    """Changes with the frozen blocks, the pictures and the vocabulary."""
    digest = hashlib.sha256(json.dumps([specs, vocabulary], sort_keys=True).encode())
    config = model.config
    digest.update(repr((config.image_encoder, config.detector, config.fusion.caption_slots)).encode())
    for block in (model.image_encoder, model.detector):
        for tensor in block.state_dict().values():
            digest.update(tensor.cpu().numpy().tobytes())
    return digest.hexdigest()


class Extraction:
    """Pictures through the frozen blocks."""

    def __init__(self, model: LightCap, text: WordPiece, device: torch.device, half: bool) -> None:
        self.model = model.to(device).eval()
        self.captioner = Captioner(self.model, text, [])
        self.device, self.half = device, half

    @torch.inference_mode()
    def grids(self, views: Tensor) -> np.ndarray:
        """[n, V, C] of normalised views [n, 3, S, S]."""
        with torch.autocast(self.device.type, torch.bfloat16, self.half):
            v = self.model.image_encoder(views.to(self.device))
        v = v.float().flatten(2).transpose(1, 2)
        if not torch.isfinite(v).all() or v.abs().max() > 65504:
            raise ConfigError("the image encoder's output is not finite or too large for fp16: are its"
                              " weights those of a trained CLIP?")  # fmt: skip
        return v.half().cpu().numpy()

    @torch.inference_mode()
    def proposals(self, boards: list[tuple[Tensor, Letterbox]]) -> list[Tensor]:
        """The boxes [n, 4] in the picture's pixels, as captioning has them, for each of the detector's inputs
        [3, h, w]. Inputs of one size are a batch."""
        sizes: dict[torch.Size, list[int]] = {}
        for i, (x, _) in enumerate(boards):
            sizes.setdefault(x.shape, []).append(i)
        found = [torch.empty(0)] * len(boards)
        for alike in sizes.values():
            raw = self.model.detector(torch.stack([boards[i][0] for i in alike]).to(self.device))
            proposed = self.captioner.proposals(raw, [boards[i][1] for i in alike])
            for i, (boxes, _) in zip(alike, proposed):
                found[i] = boxes
        return found


def fill(folder: Path, pictures: Pictures, extraction: Extraction, label_names: list[str],
         captions_each: int, mark: str) -> Features:  # fmt: skip
    """The folder's features; makes those that are missing."""
    note = folder / "done.json"
    done = json.loads(note.read_text()) if note.exists() else {"mark": mark, "pictures": 0}
    if done["mark"] != mark:
        raise ConfigError(f"{folder} was made of other pictures, another encoder or another vocabulary:"
                          " remove it, or give another --out")  # fmt: skip
    if done["pictures"] < len(pictures):
        folder.mkdir(parents=True, exist_ok=True)
        _fill(folder, pictures, extraction, label_names, captions_each, done)
    return open_features(folder)


def _fill(folder: Path, pictures: Pictures, extraction: Extraction, label_names: list[str],
          captions_each: int, done: dict[str, Any]) -> None:  # fmt: skip
    config = extraction.model.config
    side, slots = config.image_encoder.grid, config.fusion.caption_slots
    shapes = {
        "grids": ("<f2", (side * side, config.image_encoder.channels)),
        "proposals": ("<f4", (config.detector.max_proposals, 4)),
        "proposed": ("<i4", ()),
        "captions": ("<i4", (captions_each, slots)),
        "weights": ("<f4", ()),
        "geometry": ("<f4", (4,)),
    }
    arrays = {name: _array(folder / f"{name}.npy", kind, (len(pictures), *shape))
              for name, (kind, shape) in shapes.items()}  # fmt: skip
    begin, first, reader = time.time(), done["pictures"], Reader(pictures)
    while done["pictures"] < len(pictures):
        rows = range(done["pictures"], min(done["pictures"] + FEW, len(pictures)))
        _rows(arrays, rows, reader, extraction)
        for array in arrays.values():
            array.flush()
        done["pictures"] = rows.stop
        _note(folder, done)
        left = (time.time() - begin) / (rows.stop - first) * (len(pictures) - rows.stop)
        print(f"{folder.name}: {rows.stop}/{len(pictures)} pictures, {left / 60:.1f} min left",
              file=sys.stderr, flush=True)  # fmt: skip
    _objects(folder, pictures, config.image_encoder.image_size, arrays["geometry"], label_names)
    (folder / "labels.json").write_text(json.dumps(label_names))
    done["side"] = side
    _note(folder, done)


def _note(folder: Path, done: dict[str, Any]) -> None:
    part = folder / "done.part"
    part.write_text(json.dumps(done))
    part.rename(folder / "done.json")


def _array(path: Path, kind: str, shape: tuple[int, ...]) -> np.ndarray:
    return np.lib.format.open_memmap(path, "r+" if path.exists() else "w+", kind, shape)


@dataclass
class Seen:
    """A picture as the frozen blocks read it."""

    about: Picture
    view: Tensor  # the encoder's input [3, S, S]
    geometry: EncoderGeometry
    board: tuple[Tensor, Letterbox]  # the detector's input [3, h, w]


def _rows(arrays: dict[str, np.ndarray], rows: range, reader: Reader,
          extraction: Extraction) -> None:  # fmt: skip
    encoder, detector = extraction.model.config.image_encoder, extraction.model.config.detector

    def see(pixels: np.ndarray, about: Picture) -> Seen:
        view = encoder_input(pixels, encoder.image_size, encoder.resize, encoder.mean, encoder.std)
        return Seen(about, *view, detector_input(pixels, detector.image_size))

    text, shape = extraction.captioner.text, arrays["captions"].shape[1:]
    for at in range(rows.start, rows.stop, BATCH):
        batch = range(at, min(at + BATCH, rows.stop))
        seen = reader.map(see, batch)
        arrays["grids"][batch.start : batch.stop] = extraction.grids(torch.stack([s.view for s in seen]))
        proposals = extraction.proposals([s.board for s in seen])
        for row, s, boxes in zip(batch, seen, proposals):
            boxes = s.geometry.to_encoder(boxes)
            arrays["proposed"][row] = len(boxes)
            arrays["proposals"][row, : len(boxes)] = boxes.numpy()
            arrays["weights"][row] = s.about.weight
            arrays["geometry"][row] = [*s.geometry.scale, *s.geometry.offset]
            arrays["captions"][row] = caption_ids(s.about.captions, shape, text)


def caption_ids(captions: list[str], shape: tuple[int, int], text: WordPiece) -> np.ndarray:
    """[CLS] words [SEP] [PAD]..., a row each; a caption that is too long is cut before its [SEP]."""
    ids = np.full(shape, text.special.pad, np.int32)
    for row, caption in zip(ids, captions):
        tokens = [text.special.cls, *text.encode(caption)][: shape[1] - 1] + [text.special.sep]
        row[: len(tokens)] = tokens
    return ids


def _objects(folder: Path, pictures: Pictures, size: int, geometry: np.ndarray,
             label_names: list[str]) -> None:  # fmt: skip
    """Objects whose label is among the concepts; boxes as the encoder sees them."""
    index = {name: i for i, name in enumerate(label_names)}
    boxes, labels, rows = [np.zeros((0, 4))], [], []
    for row in range(len(pictures)):
        known = [(index[name], box) for name, box in pictures[row].objects if name in index]
        if not known:
            continue
        scale, offset = geometry[row, :2].tolist(), geometry[row, 2:].tolist()
        way = EncoderGeometry(tuple(scale), tuple(offset), size)
        boxes.append(way.to_encoder(torch.tensor([box for _, box in known])).numpy())
        labels += [label for label, _ in known]
        rows += [row] * len(known)
    np.savez(folder / "objects.npz", boxes=np.concatenate(boxes).astype("<f4"),
             labels=np.array(labels, "<i4"), rows=np.array(rows, "<i4"))  # fmt: skip


def open_features(folder: Path) -> Features:
    """A folder that is whole."""
    done = json.loads((folder / "done.json").read_text())
    arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r")
              for name in ("grids", "proposals", "proposed", "captions", "weights")}  # fmt: skip
    with np.load(folder / "objects.npz") as objects:
        return Features(**arrays, objects=dict(objects), side=done["side"],
                        label_names=json.loads((folder / "labels.json").read_text()))  # fmt: skip
