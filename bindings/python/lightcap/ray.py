"""Captions of many pictures with Ray Data.

    import ray
    import lightcap.ray

    pictures = ray.data.read_binary_files("s3://bucket/album", include_paths=True)
    lightcap.ray.caption(pictures, "model.lcw", concurrency=64).write_parquet("s3://bucket/captions")

Each actor takes a core and opens the model once; weights are mapped, so that a machine holds one copy. A bad
picture is a row with an error (`COLUMNS`). `read_binary_files`, not `read_images`: that one fails on a broken
file, and what it decodes is no longer what the engine would have decoded. For runs that can be resumed, Ray has
checkpoints of its own: `ray.data.DataContext.get_current().checkpoint_config`, with `id_column="path"`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._rows import COLUMNS, Rows

if TYPE_CHECKING:
    import pyarrow
    import ray.data

__all__ = ["COLUMNS", "Captioner", "caption", "schema"]


def schema() -> pyarrow.Schema:
    """The columns' types, the same for every block."""
    import pyarrow as pa

    concept = pa.struct([("label", pa.string()), ("similarity", pa.float32()), ("score", pa.float32()),
                         ("box", pa.list_(pa.float32()))])  # fmt: skip
    types = {"score": pa.float64(), "concepts": pa.list_(concept), "width": pa.int32(), "height": pa.int32()}
    return pa.schema([(name, types.get(name, pa.string())) for name in COLUMNS])


class Captioner:
    """A callable class for `Dataset.map_batches`, over batches in pyarrow's format with `path` and `bytes`."""

    def __init__(self, model: str | None = None, threads: int = 1, options: dict[str, Any] | None = None) -> None:
        self._rows = Rows(model, threads, options or {})

    def __call__(self, batch: pyarrow.Table) -> pyarrow.Table:
        import pyarrow as pa

        pairs = zip(batch.column("path").to_pylist(), batch.column("bytes").to_pylist())
        return pa.Table.from_pylist([self._rows.row(path, data) for path, data in pairs], schema=schema())


def caption(
    pictures: ray.data.Dataset,
    model: str | None = None,
    *,
    concurrency: int | tuple[int, int] = 1,
    batch_size: int = 16,
    threads: int = 1,
    **options: Any,
) -> ray.data.Dataset:
    """The rows of `pictures`, which have the columns `path` and `bytes`; without a model, by the demo model.

    `concurrency`: actors, each of which takes `threads` cores; or the least and the most of them. Leave a core or
    two for reading and writing: where actors hold all of a cluster, Ray has none to read with. The model's path must
    lead to the same file on each machine. `options` are those of `Model.caption`.
    """
    return pictures.map_batches(
        Captioner,
        fn_constructor_kwargs={"model": model, "threads": threads, "options": options},
        batch_format="pyarrow",
        batch_size=batch_size,
        concurrency=concurrency,
        num_cpus=threads,
    )
