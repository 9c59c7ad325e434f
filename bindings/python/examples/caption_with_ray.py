"""Captions a folder with Ray Data, on this machine's cores.

    pip install lightcap "ray[data]"
    python caption_with_ray.py FOLDER OUTPUT.parquet [MODEL.lcw]

On a cluster `ray.init()` finds the cluster, and FOLDER, OUTPUT and MODEL are places that all machines see.
"""

import sys

import ray

import lightcap.ray


def main(folder: str, output: str, model: "str | None" = None) -> None:
    ray.init(include_dashboard=False)
    pictures = ray.data.read_binary_files(folder, include_paths=True)
    actors = max(1, int(ray.cluster_resources()["CPU"]) - 1)  # one reads and writes
    lightcap.ray.caption(pictures, model, concurrency=actors).write_parquet(output)


if __name__ == "__main__":
    main(*sys.argv[1:])
