"""Captions of many pictures with Spark.

    import lightcap.spark

    pictures = spark.read.format("binaryFile").option("recursiveFileLookup", True).load("s3a://bucket/album")
    lightcap.spark.caption(pictures, "model.lcw").write.parquet("s3a://bucket/captions")

A Python worker opens the model once, whatever number of tasks it runs; weights are mapped, so that a machine
holds one copy. A bad picture is a row with an error (`COLUMNS`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from ._rows import COLUMNS, Rows

if TYPE_CHECKING:
    import pandas
    from pyspark.sql import DataFrame

__all__ = ["COLUMNS", "SCHEMA", "caption"]

SCHEMA = (
    "path string, caption string, score double, "
    "concepts array<struct<label: string, similarity: float, score: float, box: array<float>>>, "
    "width int, height int, status string, error string, model_sha256 string, lightcap_version string"
)
"""The columns and their types."""

# Spark hands on as many rows at once, with all of their bytes: its default of 10,000 pictures would be 30 GB.
_ROWS_AT_ONCE = "32"


def caption(
    pictures: DataFrame, model: str | None = None, *, threads: int = 1, **options: Any
) -> DataFrame:
    """The rows of `pictures`, which have the columns `path` and `content`; without a model, by the demo model.

    The model's path must lead to the same file on each machine. `threads`: of one caption; more than 1 only where
    `spark.task.cpus` says the same. `options` are those of `Model.caption`. Sets the session's
    `spark.sql.execution.arrow.maxRecordsPerBatch` to 32.
    """
    pictures.sparkSession.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", _ROWS_AT_ONCE)

    def captions(batches: Iterable[pandas.DataFrame]) -> Iterator[pandas.DataFrame]:
        import pandas

        rows = Rows.of_this_process(model, threads, options)
        for batch in batches:
            pairs = zip(batch["path"], batch["content"])
            yield pandas.DataFrame([rows.row(path, data) for path, data in pairs],
                                   columns=list(COLUMNS), dtype=object)  # fmt: skip

    return pictures.select("path", "content").mapInPandas(captions, SCHEMA)
