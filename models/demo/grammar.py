"""Captions of a scene, and the facts that a caption states, checked against the scene.

`captions` writes them, `facts` reads them back; both use the same tables, so no word can be written
that cannot be read. The plain form of every slot is drawn most often: it is what a model learns.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from .scenes import Group, Scene

# Kind: names, singular/plural; the first is the plain one.
NAMES = {
    "house": "house/houses cottage/cottages home/homes",
    "tree": "tree/trees oak/oaks maple/maples",
    "car": "car/cars automobile/automobiles",
    "bus": "bus/buses coach/coaches",
    "boat": "boat/boats sailboat/sailboats yacht/yachts",
    "sun": "sun/suns",
    "moon": "moon/moons crescent/crescents",
    "cloud": "cloud/clouds cumulus/cumuli",
    "cat": "cat/cats kitten/kittens kitty/kitties",
    "dog": "dog/dogs puppy/puppies hound/hounds",
    "rabbit": "rabbit/rabbits bunny/bunnies hare/hares",
    "bird": "bird/birds songbird/songbirds",
    "duck": "duck/ducks duckling/ducklings",
    "fish": "fish/fishes",
    "kite": "kite/kites",
    "balloon": "balloon/balloons airship/airships",
    "plane": "plane/planes airplane/airplanes aircraft/aircrafts jet/jets",
    "flower": "flower/flowers blossom/blossoms bloom/blooms",
    "lamp": "lamp/lamps light/lights lantern/lanterns",
    "bridge": "bridge/bridges footbridge/footbridges",
    "umbrella": "umbrella/umbrellas parasol/parasols",
    "tent": "tent/tents shelter/shelters",
    "snowman": "snowman/snowmen",
    "chair": "chair/chairs seat/seats",
    "table": "table/tables desk/desks",
    "clock": "clock/clocks timepiece/timepieces",
    "cup": "cup/cups mug/mugs teacup/teacups",
    "ball": "ball/balls football/footballs",
}
COLOUR_WORDS = {
    "red": "red scarlet crimson ruby",
    "blue": "blue navy sapphire cobalt",
    "green": "green emerald leafy",
    "yellow": "yellow golden lemon",
    "white": "white snowy ivory",
    "black": "black dark ebony",
    "orange": "orange tangerine amber",
    "purple": "purple violet plum",
}
SIZE_WORDS = {"small": "small little tiny miniature petite", "large": "large big huge giant great"}
NUMBER_WORDS = {1: "a an one single", 2: "two twin", 3: "three"}
RELATIONS = {
    "above": ("above", "over", "higher than"),
    "under": ("under", "below", "beneath", "underneath"),
    "left": ("to the left of", "on the left side of", "left of"),
    "right": ("to the right of", "on the right side of", "right of"),
    "beside": ("next to", "beside", "near", "close to"),
}
# People say "next to" unless the side matters.
BESIDE = 0.7
SETTINGS = {
    "meadow": ("in a meadow", "on the grass", "in a grassy field", "on a lawn", "in the countryside",
               "on a pasture"),
    "sea": ("on the sea", "at sea", "on the water", "on the ocean", "among the waves",
            "by calm blue waters"),
    "street": ("on a street", "in the street", "on a road", "along a city avenue", "in town",
               "on the pavement"),
    "night": ("at night", "in the night", "under a starry sky", "after sunset", "at midnight",
              "during the evening"),
    "snow": ("in the snow", "in winter", "on a snowy day", "amid falling snowflakes",
             "on frozen ground", "in frosty weather"),
    "room": ("in a room", "indoors", "inside a room", "inside an apartment", "in the lounge",
             "on a wooden floor"),
}  # fmt: skip
# "there is" turns into "there are" before a plural.
OPENINGS = ("", "there is", "there are", "a picture of", "a drawing of", "an illustration of", "a scene with",
            "we can see", "this image shows", "here is", "you see", "a cartoon of", "a painting of",
            "a view of", "look at", "this artwork presents", "the picture contains")  # fmt: skip
PLAIN = 0.7  # how often a slot takes its plain form


def _pick(options: tuple[str, ...] | list[str], rng: np.random.Generator) -> str:
    if len(options) == 1 or rng.random() < PLAIN:
        return options[0]
    return str(rng.choice(options[1:]))


def noun_phrase(group: Group, rng: np.random.Generator) -> str:
    singular, plural = _pick(NAMES[group.kind].split(), rng).split("/")
    words = [singular if group.number == 1 else plural]
    if group.colour:
        words.insert(0, _pick(COLOUR_WORDS[group.colour].split(), rng))
    if group.size:
        words.insert(0, _pick(SIZE_WORDS[group.size].split(), rng))
    if group.number > 1:
        words.insert(0, _pick(NUMBER_WORDS[group.number].split(), rng))
    elif group.kind in ("sun", "moon") and not group.size:
        words.insert(0, "the")
    else:
        words.insert(0, "an" if words[0][0] in "aeiou" else "a")
    return " ".join(words)


def caption(scene: Scene, rng: np.random.Generator) -> str:
    """[opening] things [relation thing] [and thing] setting, or the setting first."""
    phrases = [noun_phrase(group, rng) for group in scene.groups]
    text = phrases[0]
    if len(phrases) > 1:
        relation = scene.relation
        if relation in ("left", "right") and rng.random() < BESIDE:
            relation = "beside"
        link = _pick(RELATIONS[relation], rng) if relation else "and"
        text += f" {link} {phrases[1]}"
    if len(phrases) > 2:
        text += f" {_pick(['and', 'with', 'plus'], rng)} {phrases[2]}"
    setting = _pick(SETTINGS[scene.setting], rng)
    opening = _pick(OPENINGS, rng)
    if opening.startswith("there"):
        opening = "there is" if scene.groups[0].number == 1 else "there are"
    if opening:
        return f"{opening} {text} {setting}"
    return f"{text} {setting}" if rng.random() < PLAIN + 0.2 else f"{setting}, {text}"


def captions(scene: Scene, rng: np.random.Generator, count: int) -> list[str]:
    """Different captions of one scene."""
    found: dict[str, None] = {}
    while len(found) < count:
        found[caption(scene, rng)] = None
    return list(found)


KIND_OF = {
    word: (kind, bool(i))
    for kind, names in NAMES.items()
    for name in names.split()
    for i, word in enumerate(name.split("/"))
}
COLOUR_OF = {word: colour for colour, words in COLOUR_WORDS.items() for word in words.split()}
SIZE_OF = {word: size for size, words in SIZE_WORDS.items() for word in words.split()}
NUMBER_OF = {word: n for n, words in NUMBER_WORDS.items() for word in words.split()}


@dataclass
class Fact:
    kind: str  # thing, colour, number, size, relation, setting, or form: words that say nothing
    text: str
    true: bool


@dataclass
class Said:
    """One noun phrase of a caption."""

    kind: str
    plural: bool
    colour: str = ""
    size: str = ""
    number: int = 0


def _read_phrase(words: list[str], noun: str) -> tuple[Said, list[str]]:
    """The adjectives that end `words`, taken off it, describe the noun."""
    said = Said(*KIND_OF[noun])
    while words:
        word = words[-1]
        if word in COLOUR_OF and not said.colour:
            said.colour = COLOUR_OF[word]
        elif word in SIZE_OF and not said.size:
            said.size = SIZE_OF[word]
        elif (word in NUMBER_OF or word == "the") and not said.number:
            said.number = NUMBER_OF.get(word, 1)
            words.pop()
            break
        else:
            break
        words.pop()
    return said, words


def _check(said: Said, scene: Scene) -> tuple[Group | None, list[Fact]]:
    """The group that fits best, and which facts of the phrase hold for it."""

    def truths(group: Group) -> list[Fact]:
        number = said.number or (group.number if said.plural else 1)
        list_ = [Fact("thing", said.kind, True)]
        list_.append(Fact("number", f"{number} {said.kind}",
                          number == group.number and said.plural == (number > 1)))  # fmt: skip
        if said.colour:
            list_.append(Fact("colour", f"{said.colour} {said.kind}", said.colour == group.colour))
        if said.size:
            list_.append(Fact("size", f"{said.size} {said.kind}", said.size == group.size))
        return list_

    groups = [group for group in scene.groups if group.kind == said.kind]
    if not groups:
        return None, [Fact("thing", said.kind, False)]
    best = max(groups, key=lambda group: sum(fact.true for fact in truths(group)))
    return best, truths(best)


def _phrases_in(text: str, table: dict[str, tuple[str, ...]]) -> tuple[str, list[str]]:
    """Takes the table's phrases out of the text: a mark in their place, and their keys."""
    known = {phrase: key for key, phrases in table.items() for phrase in phrases}
    longest = sorted(known, key=len, reverse=True)
    found: list[str] = []

    def mark(match: re.Match[str]) -> str:
        found.append(known[match.group()])
        return f"<{found[-1]}>"

    return re.sub(r"\b(" + "|".join(longest) + r")\b", mark, text), found


def facts(text: str, scene: Scene) -> tuple[list[Fact], list[str]]:
    """Every fact that a caption states, each true or not, and the kinds that it names."""
    text = text.lower().replace(".", " ").replace(",", " ").strip()
    for opening in sorted(OPENINGS[1:], key=len, reverse=True):
        text = text.removeprefix(opening + " ")
    text, settings = _phrases_in(text, SETTINGS)
    text, _ = _phrases_in(text, RELATIONS)
    stated = [Fact("setting", name, name == scene.setting) for name in settings]
    groups: list[Group | None] = []
    links: list[str] = []
    pending: list[str] = []
    for word in text.split():
        if word not in KIND_OF:
            pending.append(word)
            continue
        said, rest = _read_phrase(pending, word)
        group, list_ = _check(said, scene)
        if group is not None and any(group is other for other in groups):
            list_.append(Fact("thing", f"{said.kind} again", False))
        stated += list_
        groups.append(group)
        marks = [w[1:-1] for w in rest if w.startswith("<") and w[1:-1] in RELATIONS]
        links.append(marks[-1] if marks else "")
        stated += _odd(rest)
        pending = []
    stated += _odd(pending)
    for i, link in enumerate(links):
        if link:
            pair = (groups[i - 1], groups[i]) if i else (None, None)
            stated.append(Fact("relation", link, _holds(link, *pair)))
    return stated, [group.kind for group in groups if group is not None]


def _odd(words: list[str]) -> list[Fact]:
    """Words left over that are neither marks nor glue: what they say is not true of anything."""
    odd = [w for w in words if not w.startswith("<") and w not in ("and", "with", "plus")]
    return [Fact("form", " ".join(odd), False)] if odd else []


def _holds(link: str, a: Group | None, b: Group | None) -> bool:
    from .scenes import lies

    return a is not None and b is not None and lies(link, a, b)
