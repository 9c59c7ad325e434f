"""A thousand pictures with Ray and Spark, 20 of them broken and a worker killed half-way.

    python bindings/python/tests/cluster_test.py [ray] [spark] [--pictures 1000]

Needs lightcap, numpy, Pillow and pyarrow, and ray[data], or pyspark, pandas and Java; takes minutes, so it is no
part of scripts/test. Afterwards each path has one row, 20 have an error, and captions and scores equal those of
the command line.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from urllib.parse import urlparse

from PIL import Image

import lightcap
from lightcap import _library

BAD = 20


def make_pictures(folder: Path, count: int) -> set[str]:
    """Scenes of the demo model's kind at other sizes, in two folders; returns the paths of the broken ones."""
    scenes = [Image.open(path).convert("RGB") for path in
              sorted((Path(__file__).resolve().parents[3] / "models/demo/pictures").iterdir())]  # fmt: skip
    bad = set(random.Random(1).sample(range(count), BAD))
    broken = set()
    for number in range(count):
        path = folder / f"part{number % 2}" / f"p{number:04}.jpg"
        path.parent.mkdir(exist_ok=True)
        scene = scenes[number % len(scenes)]
        left, top = number % 37, number // 37 % 29
        exif = Image.Exif()
        exif[0x0112] = 6 if number % 5 == 0 else 1
        cut = scene.crop((left, top, scene.width - 3, scene.height - 2))
        if number % 5 == 0:
            cut = cut.transpose(Image.Transpose.ROTATE_90)
        cut.save(path, quality=90, exif=exif)
        if number in bad:
            data = path.read_bytes()
            # None of them empty: Spark's reader passes over files of 0 bytes.
            path.write_bytes([data[:2], b"no picture", data[: len(data) // 2]][number % 3])
            broken.add(str(path))
    return broken


def plain_captions(folder: Path) -> dict[str, tuple[str, float]]:
    said = subprocess.run([Path(_library.PACKAGE, "bin/lightcap"), "caption", "--model", lightcap.demo_model_path(),
                           "--json", "-r", folder], capture_output=True, text=True, check=False)  # fmt: skip
    assert said.returncode == 1, (said.returncode, said.stderr[-2000:])  # for the broken ones
    lines = map(json.loads, said.stdout.splitlines())
    return {line["image"]: (line["caption"], line["score"]) for line in lines if "caption" in line}


def command_of(process: Path) -> str:
    with contextlib.suppress(OSError):
        return (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    return ""


def captioning_processes(called: str) -> list[int]:
    """Those whose command has this in it and that have the engine loaded, but for this one."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if int(process.name) != os.getpid() and called in command_of(process) and \
                    "liblightcap.so" in (process / "maps").read_text():
                found.append(int(process.name))
    return found


class Killer(threading.Thread):
    """Kills one worker, some seconds after the first one has begun to caption."""

    def __init__(self, called: str, seconds: float):
        super().__init__(daemon=True)
        self.called, self.seconds = called, seconds
        self.killed = 0
        self.over = threading.Event()

    def run(self) -> None:
        while not captioning_processes(self.called):
            if self.over.wait(0.2):
                return
        if self.over.wait(self.seconds):
            return
        if workers := captioning_processes(self.called):
            os.kill(workers[0], signal.SIGKILL)
            self.killed = workers[0]


def with_ray(folder: Path, output: Path) -> None:
    import ray

    import lightcap.ray

    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False)
    pictures = ray.data.read_binary_files(str(folder), include_paths=True, override_num_blocks=32)
    lightcap.ray.caption(pictures, concurrency=2).write_parquet(str(output))
    ray.shutdown()


def with_spark(folder: Path, output: Path) -> None:
    from pyspark.sql import SparkSession

    import lightcap.spark

    os.environ["PYSPARK_PYTHON"] = sys.executable  # else the workers are the path's python3
    spark = SparkSession.builder.master("local[2, 4]").config("spark.ui.enabled", "false").getOrCreate()
    spark.sparkContext.setLogLevel("ERROR")
    pictures = spark.read.format("binaryFile").option("recursiveFileLookup", True).load(str(folder)).repartition(32)
    lightcap.spark.caption(pictures).write.parquet(str(output))
    spark.stop()


ENGINES = {"ray": (with_ray, "ray::"), "spark": (with_spark, "pyspark")}


def check(engine: str, folder: Path, broken: set[str], expected: dict[str, tuple[str, float]]) -> None:
    import pyarrow.dataset

    run, called = ENGINES[engine]
    output = folder.parent / f"{engine}.parquet"
    killer = Killer(called, seconds=2)
    killer.start()
    start = time.monotonic()
    run(folder, output)
    seconds = time.monotonic() - start
    killer.over.set()
    killer.join()
    assert killer.killed, "the run was over before a worker could be killed"
    files = [str(path) for path in output.rglob("*.parquet")]
    rows = pyarrow.dataset.dataset(files).to_table().to_pylist()
    assert len(rows) == len(expected) + BAD, len(rows)
    found = {urlparse(row["path"]).path: row for row in rows}
    assert set(found) == set(expected) | broken
    assert {path for path, row in found.items() if row["status"] == "error"} == broken
    for path, row in found.items():
        if path in broken:
            assert row["error"] and row["caption"] is None and row["width"] is None, row
        else:
            assert (row["caption"], row["score"]) == expected[path], (row, expected[path])
            assert row["width"] > 0 and row["concepts"][0]["label"] and row["error"] is None, row
            assert all(c["box"][2] <= row["width"] and c["box"][3] <= row["height"] for c in row["concepts"]), row
    assert {(row["model_sha256"], row["lightcap_version"]) for row in rows} == {
        (rows[0]["model_sha256"], lightcap.__version__)}  # fmt: skip
    print(f"{engine}: {len(rows)} rows, {len(broken)} errors, worker {killer.killed} killed, {seconds:.0f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("engines", nargs="*", choices=[*ENGINES, []], default=[])
    parser.add_argument("--pictures", type=int, default=1000)
    arguments = parser.parse_args()
    root = Path(tempfile.mkdtemp(prefix="lightcap-cluster-"))
    try:
        folder = root / "album"
        folder.mkdir()
        broken = make_pictures(folder, arguments.pictures)
        expected = plain_captions(folder)
        assert len(expected) == arguments.pictures - BAD, len(expected)
        for engine in arguments.engines or ENGINES:
            check(engine, folder, broken, expected)
    finally:
        shutil.rmtree(root, ignore_errors=True)


if __name__ == "__main__":
    main()
