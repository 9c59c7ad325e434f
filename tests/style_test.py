"""Comments, and sentences in them, that begin with a fragment, of every source file of the repository.

    python tests/style_test.py [FOLDER]

A comment that begins with "Of", "Where", "Which", "What", "Who" or "Whether" has its noun somewhere else:
the reader has to find what it speaks of, and a search does not find the comment. Begin with the noun, in the
field's words ("The offset of each tensor", not "Where each tensor stands"), or with a verb for a function
("Returns true if ...").

Inside a comment a sentence may begin with "Where": there it opens a condition of the sentence, whose noun follows.
"""

from __future__ import annotations

import io
import os
import re
import sys
import tokenize
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FRAGMENT = re.compile(r"(Of|Where|Which|What|Who|Whether)\b")
SENTENCE = re.compile(r"[.!?:]\s+((Of|Which|What|Who|Whether)\b)")
SKIPPED_FOLDERS = re.compile(r"(build.*|\.(?!ci$).*|__pycache__)$")
C_LIKE = {".c", ".cc", ".cpp", ".def", ".h", ".hpp", ".inl", ".map"}
ADVICE = 'begins with a fragment: start with the noun or verb that it is about ("The offset of ...")'


def blocks(lines: list[tuple[int, str]]) -> list[tuple[int, str]]:
    """Comments on lines that follow each other are one; it has its first line's number."""
    found: list[tuple[int, str]] = []
    for i, (at, text) in enumerate(lines):
        if i != 0 and lines[i - 1][0] == at - 1:
            found[-1] = (found[-1][0], found[-1][1] + "\n" + text)
        else:
            found.append((at, text))
    return found


def c_comments(text: str) -> list[tuple[int, str]]:
    # Strings first, so that "//" in them is no comment; a raw string's quotes do not end it.
    token = re.compile(r'R"(\w*)\((?:.|\n)*?\)\1"|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])+\'|//[^\n]*|/\*(?:.|\n)*?\*/')
    lines, found = [], []
    for match in token.finditer(text):
        at = text.count("\n", 0, match.start()) + 1
        if match[0].startswith("//"):
            # Behind code a comment is one of its own, whatever stands in the line above.
            own_line = text[: match.start()].rpartition("\n")[2].strip() == ""
            (lines if own_line else found).append((at, match[0].lstrip("/")))
        elif match[0].startswith("/*"):
            found.append((at, match[0].lstrip("/*")))
    return found + blocks(lines)


def python_comments(text: str) -> list[tuple[int, str]]:
    lines, found, before = [], [], tokenize.NEWLINE
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            own_line = token.line[: token.start[1]].strip() == ""
            (lines if own_line else found).append((token.start[0], token.string.lstrip("#")))
        elif token.type == tokenize.STRING and before in (tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT):
            found.append((token.start[0], re.sub(r'^[rRbBuUfF]*("""|\'\'\'|"|\')', "", token.string)))
        if token.type not in (tokenize.COMMENT, tokenize.NL):
            before = token.type
    return found + blocks(lines)


def shell_comments(text: str) -> list[tuple[int, str]]:
    """Those of shell scripts and CMake, behind code too."""
    lines, found = [], []
    for at, line in enumerate(text.splitlines(), 1):
        if line.lstrip().startswith("#") and not line.startswith("#!"):
            lines.append((at, line.lstrip().lstrip("#")))
        elif behind := re.search(r"""\s#\s+([^"'`]*)$""", line):
            found.append((at, behind[1]))
    return found + blocks(lines)


def comments(path: Path) -> list[tuple[int, str]]:
    if path.suffix in C_LIKE:
        return c_comments(path.read_text())
    if path.suffix == ".py":
        return python_comments(path.read_text())
    if path.suffix in (".sh", ".cmake", ".toolchain") or path.name == "CMakeLists.txt":
        return shell_comments(path.read_text())
    if path.suffix == "":
        with path.open("rb") as file:
            if file.read(2) == b"#!" or path.parent.name == "scripts":
                return shell_comments(path.read_text())
    return []


def sources(root: Path) -> list[Path]:
    found = []
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(name for name in folders if not SKIPPED_FOLDERS.match(name))
        found += [Path(folder) / name for name in sorted(files)]
    return found


def fragments(path: Path) -> list[tuple[int, str]]:
    # Decoration such as "---- Kernels ----" is not part of a comment's first word.
    stripped = [(at, text.lstrip(" \t\n*-!<")) for at, text in comments(path)]
    return sorted((at + line, text) for at, comment in stripped for line, text in beginnings(comment))


def beginnings(comment: str) -> list[tuple[int, str]]:
    """Fragments that a comment or a sentence of it begins with, each with the lines above it."""
    starts = [0] if FRAGMENT.match(comment) else []
    starts += [match.start(1) for match in SENTENCE.finditer(comment)]
    return [(comment.count("\n", 0, start), comment[start:].split("\n")[0]) for start in starts]


def test_of_the_check() -> None:
    """The check sees what it should, so that it cannot pass by seeing nothing."""
    wrong = "Of" + " all"  # so that this file passes
    cases = [
        (c_comments, f"int a;  // {wrong}\n", 1),
        (c_comments, f"// {wrong}\nint a;\n", 1),
        (c_comments, f"/* {wrong} */\n", 1),
        (c_comments, f"// A line\n// {wrong}\n", 0),
        (c_comments, f"// A line.\n// {wrong}\n", 1),
        (c_comments, f"// A sentence. {wrong}\n", 1),
        (c_comments, f"// {wrong}\n// A sentence. {wrong}\n", 2),
        (c_comments, "// A sentence. Where it has a noun, it may.\n", 0),
        (c_comments, f'const char* a = "// {wrong}";\n', 0),
        (c_comments, f'R"(// {wrong})"; // {wrong}', 1),
        (python_comments, f'def f():\n    """{wrong}"""\n', 1),
        (python_comments, f"# {wrong}\n", 1),
        (python_comments, f'a = """{wrong}"""\n', 0),
        (shell_comments, f"# {wrong}\n", 1),
        (shell_comments, f"echo  # {wrong}\n", 1),
        (shell_comments, f"# A line\n# {wrong}\n", 0),
    ]
    for parse, text, expected in cases:
        found = [start for _, comment in parse(text) for start in beginnings(comment.strip(" *"))]
        assert len(found) == expected, (parse.__name__, text, found)


def main() -> int:
    test_of_the_check()
    root = Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else ROOT
    wrong = 0
    for path in sources(root):
        name = path.relative_to(root).as_posix()
        for at, text in fragments(path):
            print(f'{name}:{at}: "{text.strip()[:60]}" {ADVICE}')
            wrong += 1
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
