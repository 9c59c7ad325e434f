"""For worlds that no CLIP knows: an image encoder from nothing, on what regions are called and on captions.

The concept extractor learns with it against a small text tower's embeddings of the prompts, and a fusion
part that is thrown away reads its grids. The encoder and the names' embeddings are what stays.
"""

from __future__ import annotations

import itertools

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.reference.lightcap import LightCap
from models.reference.preprocess import encoder_input
from models.reference.text import WordPiece

from .config import ConfigError, Encoder
from .examples import padded
from .features import SEEN, caption_ids, seen_share
from .fusion import hidden_states, prefix_of, trained_part
from .loop import World
from .regions import jittered, region_features
from .sources import Reader

OVERLOOKED, BLIND = 1 / 12, 1 / 20  # shares of boxes, and of pictures whose boxes all are


class BagTower(nn.Module):
    """Prompts as bags of words -> unit embeddings [N, E]."""

    def __init__(self, prompts: list[list[int]], words: int, hidden: int, embedding: int) -> None:
        super().__init__()
        starts = [0, *itertools.accumulate(map(len, prompts))][:-1]
        self.register_buffer("tokens", torch.tensor([i for prompt in prompts for i in prompt]), False)
        self.register_buffer("starts", torch.tensor(starts), False)
        self.words = nn.EmbeddingBag(words, hidden, mode="sum")
        self.out = nn.Sequential(nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, embedding))
        self.scale = nn.Parameter(torch.tensor(2.0))

    def forward(self) -> Tensor:
        return F.normalize(self.out(self.words(self.tokens, self.starts)), dim=-1)


class EncoderTask:
    def __init__(self, model: LightCap, reader: Reader, text: WordPiece, labels: list[str], prompt: str,
                 world: World, settings: Encoder) -> None:  # fmt: skip
        if not labels:
            raise ConfigError("inputs.labels is wanted where the image encoder is made from nothing")
        self.model, self.reader, self.text, self.world = model, reader, text, world
        self.index = {name: i for i, name in enumerate(labels)}
        self.label_ids = [text.encode(name) for name in labels]
        self.tower = BagTower([text.encode(prompt.format(name)) for name in labels], len(text.vocabulary),
                              settings.embedding, model.config.concept_extractor.embedding)  # fmt: skip
        self.module = trained_part(model)
        self.module["image_encoder"] = model.image_encoder.to(memory_format=torch.channels_last)
        self.module["proj"], self.module["tower"] = model.concept_extractor.proj, self.tower
        self.module.to(world.device).train()
        about = [reader.pictures[i] for i in range(len(reader.pictures))]
        # The captions are learned from as well: a picture without one never comes.
        self.weights = np.array([picture.weight if picture.captions else 0.0 for picture in about])
        self.notes: dict[str, Tensor] = {}

    def losses(self, rows: np.ndarray, rng: np.random.Generator) -> dict[str, Tensor]:
        encoder, device = self.model.config.image_encoder, self.world.device
        views, boxes, image, kinds, captions = [], [torch.zeros(0, 4)], [], [], []
        for i, (pixels, about) in enumerate(self.reader.read(rows)):
            view, geometry = encoder_input(pixels, encoder.image_size, encoder.resize, encoder.mean,
                                           encoder.std)  # fmt: skip
            views.append(view)
            known = [(self.index[name], box) for name, box in about.objects
                     if name in self.index and seen_share(geometry, box) >= SEEN]  # fmt: skip
            if known:
                boxes.append(geometry.to_encoder(torch.tensor([box for _, box in known])))
            kinds += [kind for kind, _ in known]
            image += [i] * len(known)
            captions.append(about.captions[int(rng.integers(len(about.captions)))])
        with torch.autocast(device.type, torch.bfloat16, self.world.half):
            v = self.model.image_encoder(torch.stack(views).to(device)).float()
        where = jittered(torch.cat(boxes).to(device), 0.04, encoder.image_size, rng)
        of, wanted = (torch.tensor(x, dtype=torch.long, device=device) for x in (image, kinds))
        extractor = self.model.concept_extractor
        names = extractor.embed(region_features(extractor, v, where, of)) @ self.tower().T
        names = names * self.tower.scale.exp()
        found = self._found(names.argmax(1).tolist(), kinds, image, len(views), rng)
        # A mean over objects, of which a batch may have none.
        concepts = F.cross_entropy(names, wanted, reduction="sum") / max(1, len(kinds))
        return {"concepts": concepts, "caption": self._caption(v, found, captions)}

    def _found(self, said: list[int], truth: list[int], image: list[int], count: int,
               rng: np.random.Generator) -> list[list[int]]:  # fmt: skip
        """Each picture's labels, as yet no detector's: the true ones or what is said of true boxes, in
        random order, some overlooked."""
        found: list[list[int]] = [[] for _ in range(count)]
        blind = rng.random(count) < BLIND
        for i in rng.permutation(len(said)):
            if not blind[image[i]] and rng.random() > OVERLOOKED:
                found[image[i]].append(said[i] if rng.random() < 0.5 else truth[i])
        return found

    def _caption(self, v: Tensor, found: list[list[int]], captions: list[str]) -> Tensor:
        config, special, model = self.model.config.fusion, self.text.special, self.model
        most, device = config.max_concept_tokens - 1, self.world.device
        concepts = padded([[i for label in labels for i in self.label_ids[label]][:most] + [special.sep]
                           for labels in found], special.pad, device)  # fmt: skip
        ids = torch.from_numpy(caption_ids(captions, (len(captions), config.caption_slots), self.text))
        ids = ids[:, : int((ids != special.pad).sum(1).max())].long().to(device)
        given, wanted = ids[:, :-1], ids[:, 1:]
        with torch.autocast(device.type, torch.bfloat16, self.world.half):
            prefix, seen = prefix_of(model, v, concepts, special.pad, special.sep)
            hidden = hidden_states(model, prefix, seen, given, given != special.pad, "decoding", special.mask)
            logits = model.head.logits(hidden, model.word_embeddings).float()
        wanted = wanted.expand(len(logits), -1, -1)
        return F.cross_entropy(logits.flatten(0, 2), wanted.flatten(), ignore_index=special.pad)

    @torch.no_grad()
    def keep_names(self) -> None:
        """The names' embeddings become the extractor's vocabulary."""
        self.model.concept_extractor.vocabulary.copy_(self.tower())
