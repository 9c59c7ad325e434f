"""The frozen blocks' output for each picture, kept on disk: every later stage reads this alone.

A folder holds, a row for each picture: grids.npy (fp16 [N, V, C]: the image encoder's output, row-major),
proposals.npy ([N, K, 4], encoder pixels) and proposed.npy ([N]: how many), captions.npy (token ids
[N, captions, slots], padded), weights.npy (0: it could not be read), geometry.npy (how encoder pixels come of
a picture's); and objects.npz: boxes [M, 4] in encoder pixels, labels [M], rows [M]. Processes fill it chunk by
chunk; chunks-*.txt have those that are on the disk, `done.json` says for which pictures and encoder, and that
all are.
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

from models.reference.config import Config
from models.reference.preprocess import EncoderGeometry, Letterbox, detector_input, encoder_input
from models.reference.lightcap import Captioner, LightCap
from models.reference.text import WordPiece

from .config import ConfigError
from .loop import World, wait_for_all
from .sources import Box, Picture, Pictures, Reader, check_share, fingerprint_of

CHUNK = 256  # pictures between two notes of how far it is
NOTED = " is on the disk"  # ends a line that is whole
SEEN = 0.2  # the least share of an object that has to be in the frame
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
    mark: str  # of what they were made of

    def __len__(self) -> int:
        return len(self.grids)

    def grid(self, rows: np.ndarray, device: torch.device) -> Tensor:
        """[n, C, G, G], fp32."""
        cells = torch.from_numpy(np.ascontiguousarray(self.grids[rows])).to(device).float()
        return cells.transpose(1, 2).unflatten(2, (self.side, self.side))


def fingerprint(model: LightCap, pictures: Pictures, settings: list[Any]) -> str:
    """Changes with the frozen blocks, the pictures and the settings."""
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    digest.update(fingerprint_of(pictures).encode())
    config = model.config
    digest.update(repr((config.image_encoder, config.detector, config.fusion.caption_slots)).encode())
    for block in (model.image_encoder, model.detector):
        for tensor in block.state_dict().values():
            digest.update(tensor.cpu().numpy().tobytes())
    return digest.hexdigest()


class Extraction:
    """Pictures through the frozen blocks."""

    def __init__(self, model: LightCap, text: WordPiece, device: torch.device) -> None:
        self.model = model.to(device).eval()
        self.captioner = Captioner(self.model, text, [])
        self.device = device

    @torch.inference_mode()
    def grids(self, views: Tensor) -> np.ndarray:
        """[n, V, C] of normalised views [n, 3, S, S]; in fp32, as the engine has them."""
        v = self.model.image_encoder(views.to(self.device)).flatten(2).transpose(1, 2)
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


def fill(folder: Path, reader: Reader, extraction: Extraction, label_names: list[str], captions_each: int,
         mark: str, world: World) -> Features:  # fmt: skip
    """The folder's features; makes those that are missing, each process its share of them."""
    note, pictures = folder / "done.json", reader.pictures
    done = json.loads(note.read_text()) if note.exists() else {"mark": mark, "whole": False}
    if done["mark"] != mark:
        raise ConfigError(f"{folder} was made of other pictures, another encoder or another vocabulary:"
                          " remove it, or give another --out")  # fmt: skip
    if not done["whole"]:
        config = extraction.model.config
        if world.first:
            folder.mkdir(parents=True, exist_ok=True)
            arrays = _arrays(folder, config, len(pictures), captions_each)
            _note(folder, done)
        wait_for_all(world)
        if not world.first:
            arrays = _arrays(folder, config, len(pictures), captions_each)
        _fill(folder, arrays, reader, extraction, world)
        wait_for_all(world)
        if world.first:
            # Each process, and each run of one, has met its own alone.
            check_share(unread(arrays), len(pictures), reader.bad_share, "could not be read")
            _objects(folder, pictures, config.image_encoder.image_size, arrays, label_names)
            (folder / "labels.json").write_text(json.dumps(label_names))
            _note(folder, done | {"whole": True, "side": config.image_encoder.grid})
    wait_for_all(world)
    return open_features(folder)


def _arrays(folder: Path, config: Config, count: int, captions_each: int) -> dict[str, np.ndarray]:
    side, slots = config.image_encoder.grid, config.fusion.caption_slots
    shapes = {
        "grids": ("<f2", (side * side, config.image_encoder.channels)),
        "proposals": ("<f4", (config.detector.max_proposals, 4)),
        "proposed": ("<i4", ()),
        "captions": ("<i4", (captions_each, slots)),
        "weights": ("<f4", ()),
        "geometry": ("<f4", (4,)),
    }
    return {name: _array(folder / f"{name}.npy", kind, (count, *shape))
            for name, (kind, shape) in shapes.items()}  # fmt: skip


def _fill(folder: Path, arrays: dict[str, np.ndarray], reader: Reader, extraction: Extraction,
          world: World) -> None:  # fmt: skip
    count = len(reader.pictures)
    lines = [line for path in folder.glob("chunks-*.txt") for line in path.read_text().split("\n")]
    noted = {int(line.removesuffix(NOTED)) for line in lines if line.endswith(NOTED)}
    missing = [chunk for chunk in range(-(-count // CHUNK)) if chunk not in noted]
    mine, begin = missing[world.rank :: world.size], time.time()
    # All have read what is noted before anyone adds to it.
    wait_for_all(world)
    with (folder / f"chunks-{world.rank}.txt").open("a") as notes:
        for done, chunk in enumerate(mine, 1):
            _rows(arrays, range(chunk * CHUNK, min((chunk + 1) * CHUNK, count)), reader, extraction)
            for array in arrays.values():
                array.flush()
            notes.write(f"\n{chunk}{NOTED}\n")  # a line of its own also behind one that was cut off
            notes.flush()
            if world.first:
                left = (time.time() - begin) / done * (len(mine) - done)
                print(f"{folder.name}: {done}/{len(mine)} chunks of {CHUNK} pictures, {left / 60:.1f} min left",
                      file=sys.stderr, flush=True)  # fmt: skip


def unread(arrays: dict[str, np.ndarray]) -> int:
    """The number of pictures that could not be read, of which nothing is noted, once all were looked at."""
    return int(np.count_nonzero(arrays["geometry"][:, 0] == 0))


def _note(folder: Path, done: dict[str, Any]) -> None:
    part = folder / "done.part"
    part.write_text(json.dumps(done))
    part.rename(folder / "done.json")


def _array(path: Path, kind: str, shape: tuple[int, ...]) -> np.ndarray:
    if not path.exists():
        return np.lib.format.open_memmap(path, "w+", kind, shape)
    array = np.lib.format.open_memmap(path, "r+")
    if array.shape != shape or array.dtype != kind:
        raise ConfigError(f"{path} holds {array.dtype} {array.shape}, {kind} {shape} is wanted: remove {path.parent}")
    return array


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
        found = [(row, s) for row, s in zip(batch, reader.map(see, batch)) if s is not None]
        # A picture that cannot be read stays without caption, proposal and weight.
        arrays["captions"][batch.start : batch.stop] = text.special.pad
        if not found:
            continue
        grids = extraction.grids(torch.stack([s.view for _, s in found]))
        proposals = extraction.proposals([s.board for _, s in found])
        for (row, s), grid, boxes in zip(found, grids, proposals):
            boxes = s.geometry.to_encoder(boxes)
            arrays["grids"][row] = grid
            arrays["proposed"][row] = len(boxes)
            arrays["proposals"][row, : len(boxes)] = boxes.numpy()
            arrays["weights"][row] = s.about.weight
            arrays["geometry"][row] = [*s.geometry.scale, *s.geometry.offset]
            arrays["captions"][row] = caption_ids(s.about.captions, shape, text)


def caption_ids(captions: list[str], shape: tuple[int, int], text: WordPiece) -> np.ndarray:
    """[CLS] words [SEP] [PAD]..., a row each. One that is too long is cut, and has no [SEP]: nobody should learn
    to end there."""
    ids = np.full(shape, text.special.pad, np.int32)
    for row, caption in zip(ids, captions):
        tokens = [text.special.cls, *text.encode(caption), text.special.sep][: shape[1]]
        row[: len(tokens)] = tokens
    return ids


def seen_share(way: EncoderGeometry, box: Box) -> float:
    """The share of a box that lies in the encoder's frame; 0 of an empty one. Boxes that end outside would be
    taken for the whole frame."""
    share = 1.0
    for low, high, scale, offset in zip(box[:2], box[2:], way.scale, way.offset):
        if high <= low:
            return 0.0
        begin, end = low * scale - offset, high * scale - offset
        share *= max(0.0, min(end, way.size) - max(begin, 0.0)) / (end - begin)
    return share


def _objects(folder: Path, pictures: Pictures, size: int, arrays: dict[str, np.ndarray],
             label_names: list[str]) -> None:  # fmt: skip
    """Objects whose label is among the concepts, and of which the encoder sees enough; boxes as it sees them."""
    index = {name: i for i, name in enumerate(label_names)}
    boxes, labels, rows = [np.zeros((0, 4))], [], []
    for row in np.flatnonzero(arrays["weights"]).tolist():
        scale, offset = arrays["geometry"][row, :2].tolist(), arrays["geometry"][row, 2:].tolist()
        way = EncoderGeometry(tuple(scale), tuple(offset), size)
        known = [(index[name], box) for name, box in pictures[row].objects
                 if name in index and seen_share(way, box) >= SEEN]  # fmt: skip
        if not known:
            continue
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
        return Features(**arrays, objects=dict(objects), side=done["side"], mark=done["mark"],
                        label_names=json.loads((folder / "labels.json").read_text()))  # fmt: skip
