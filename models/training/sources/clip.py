"""OpenAI's CLIP file (RN50.pt): its image encoder, and its text tower in plain PyTorch."""

from __future__ import annotations

import gzip
import html
import importlib.util
import re
from collections.abc import Iterable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.reference.config import count

from ..config import ConfigError, listed

CONTEXT = 77
MERGES = 49152 - 256 - 2  # of bpe_simple_vocab_16e6.txt that CLIP has
BLOCKS = "transformer.resblocks."


def read_state(path: Path) -> dict[str, Tensor]:
    """fp32 tensors of a TorchScript archive, as OpenAI's is, or of a state dict."""
    if not path.is_file():
        raise ConfigError(f"{path} is not there: OpenAI's RN50.pt is wanted")
    try:
        state = torch.jit.load(str(path), map_location="cpu").state_dict()
    except RuntimeError:
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # whatever pickle finds wrong
            raise ConfigError(f"{path} is neither TorchScript nor a state dict: {error}") from None
    if not isinstance(state, dict):
        raise ConfigError(f"{path} holds a {type(state).__name__}: a state dict, as RN50.pt has, is wanted")
    state = state.get("state_dict", state)
    return {name: value.float() for name, value in state.items() if torch.is_tensor(value)}


def load_visual(path: Path) -> dict[str, Tensor]:
    """The image encoder under LightCap's names; the attention pooler stays behind."""
    state = read_state(path)
    visual = {name.removeprefix("visual."): value for name, value in state.items()
              if name.startswith("visual.") and not name.startswith("visual.attnpool.")}  # fmt: skip
    if "conv3.weight" not in visual or "layer4.0.conv1.weight" not in visual:
        raise ConfigError(f"{path} has no visual.conv3.weight, visual.layer4...: CLIP's RN50 is wanted,"
                          " not a ViT nor another network")  # fmt: skip
    return {f"image_encoder.{name}": value for name, value in visual.items()}


class _Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.attn = nn.MultiheadAttention(width, width // 64, batch_first=True)
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.mlp = nn.Module()
        self.mlp.c_fc, self.mlp.c_proj = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        y = self.ln_1(x)
        x = x + self.attn(y, y, y, need_weights=False, attn_mask=mask)[0]
        y = self.mlp.c_fc(self.ln_2(x))
        return x + self.mlp.c_proj(y * torch.sigmoid(1.702 * y))


class TextTower(nn.Module):
    """Token ids [B, 77], padded with 0 -> unit embeddings [B, E]; CLIP's names."""

    def __init__(self, state: dict[str, Tensor]) -> None:
        super().__init__()
        words, width = state["token_embedding.weight"].shape
        self.token_embedding = nn.Embedding(words, width)
        self.positional_embedding = nn.Parameter(torch.zeros_like(state["positional_embedding"]))
        self.transformer = nn.Module()
        depth = count(state, BLOCKS + "{}.ln_1.weight")
        self.transformer.resblocks = nn.ModuleList(_Block(width) for _ in range(depth))
        self.ln_final = nn.LayerNorm(width)
        self.text_projection = nn.Parameter(torch.zeros_like(state["text_projection"]))

    def forward(self, tokens: Tensor) -> Tensor:
        n = tokens.shape[1]
        x = self.token_embedding(tokens) + self.positional_embedding[:n]
        mask = torch.ones(n, n, dtype=torch.bool).triu(1)
        for block in self.transformer.resblocks:
            x = block(x, mask)
        # The end of the text is its highest id.
        x = self.ln_final(x)[torch.arange(len(tokens)), tokens.argmax(-1)]
        return F.normalize(x @ self.text_projection, dim=-1)


def load_text_tower(path: Path) -> TextTower:
    state = read_state(path)
    needed = ("token_embedding.weight", "positional_embedding", "text_projection", "ln_final.weight",
              BLOCKS + "0.attn.in_proj_weight")  # fmt: skip
    missing = [name for name in needed if name not in state]
    if missing:
        raise ConfigError(f"{path} has no {', '.join(missing)}: a whole CLIP, with its text tower, is wanted")
    tower = TextTower(state)
    missing = [name for name in tower.state_dict() if name not in state]
    if missing:
        raise ConfigError(f"{path} lacks {listed(missing)} of its text tower: a whole CLIP is wanted")
    tower.load_state_dict({name: state[name] for name in tower.state_dict()})
    return tower.eval().requires_grad_(False)


def _byte_signs() -> dict[int, str]:
    """A printable sign for each byte, in CLIP's order."""
    plain = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAC + 1), *range(0xAE, 0xFF + 1)]
    others = [b for b in range(256) if b not in plain]
    return {b: chr(b) for b in plain} | {b: chr(256 + i) for i, b in enumerate(others)}


def find_merges(given: Path | None) -> Path:
    """The file of merges: the one given, or that of an installed open_clip or clip."""
    if given is not None:
        return given
    for package in ("open_clip", "clip"):
        spec = importlib.util.find_spec(package)
        for folder in (spec.submodule_search_locations or []) if spec else []:
            path = Path(folder) / "bpe_simple_vocab_16e6.txt.gz"
            if path.exists():
                return path
    raise ConfigError("inputs.merges is not given: bpe_simple_vocab_16e6.txt.gz of OpenAI's CLIP is wanted,"
                      " which the package open-clip-torch has too")  # fmt: skip


class Tokenizer:
    """CLIP's byte-pair encoding."""

    def __init__(self, merges: Path) -> None:
        try:
            data = merges.read_bytes()
            text = (gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data).decode()
        except (OSError, ValueError, EOFError) as error:
            raise ConfigError(f"{merges}: {error}; bpe_simple_vocab_16e6.txt(.gz) is wanted") from None
        pairs = [tuple(line.split()) for line in text.split("\n")[1 : MERGES + 1] if line]
        if not pairs or any(len(pair) != 2 for pair in pairs):
            raise ConfigError(f"{merges} is no list of pairs: bpe_simple_vocab_16e6.txt(.gz) is wanted")
        self.signs = _byte_signs()
        singles = list(self.signs.values())
        tokens = [*singles, *(s + "</w>" for s in singles), *("".join(pair) for pair in pairs),
                  "<|startoftext|>", "<|endoftext|>"]  # fmt: skip
        self.ids = {token: i for i, token in enumerate(tokens)}
        self.ranks = {pair: i for i, pair in enumerate(pairs)}

    def _pieces(self, word: str) -> list[str]:
        parts = [*word[:-1], word[-1] + "</w>"]
        while len(parts) > 1:
            pairs = list(zip(parts, parts[1:]))
            best = min(pairs, key=lambda pair: self.ranks.get(pair, len(self.ranks)))
            if best not in self.ranks:
                break
            merged, i = [], 0
            while i < len(parts):
                joined = i + 1 < len(parts) and (parts[i], parts[i + 1]) == best
                merged.append(parts[i] + parts[i + 1] if joined else parts[i])
                i += 2 if joined else 1
            parts = merged
        return parts

    def __call__(self, texts: Iterable[str]) -> Tensor:
        """Ids [n, 77]."""
        rows = []
        for text in texts:
            text = " ".join(html.unescape(text).split()).lower()
            found = re.findall(r"'s|'t|'re|'ve|'m|'ll|'d|[^\W\d_]+|\d|[^\s\w]+|_+", text)
            words = ["".join(self.signs[b] for b in word.encode()) for word in found]
            ids = [self.ids[piece] for word in words for piece in self._pieces(word)]
            ids = [self.ids["<|startoftext|>"], *ids[: CONTEXT - 2], self.ids["<|endoftext|>"]]
            rows.append(ids + [0] * (CONTEXT - len(ids)))
        return torch.tensor(rows)


@torch.inference_mode()
def embed(tower: TextTower, tokenizer: Tokenizer, texts: list[str]) -> Tensor:
    """Unit embeddings [n, E]."""
    if len(tokenizer.ids) != len(tower.token_embedding.weight):
        raise ConfigError(f"the merges make {len(tokenizer.ids)} tokens, the text tower has"
                          f" {len(tower.token_embedding.weight)}")  # fmt: skip
    return torch.cat([tower(tokenizer(texts[at : at + 64])) for at in range(0, len(texts), 64)]).clone()
