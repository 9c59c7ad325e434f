"""Captions a folder with Spark, on this machine's cores.

    pip install lightcap pyspark pandas pyarrow     # and Java
    python caption_with_spark.py FOLDER OUTPUT.parquet [MODEL.lcw]

`spark-submit` runs the same program on a cluster, where FOLDER, OUTPUT and MODEL are places that all machines
see.
"""

import os
import sys

from pyspark.sql import SparkSession

import lightcap.spark


def main(folder: str, output: str, model: "str | None" = None) -> None:
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)  # else the workers are the path's python3
    # Tasks that fail are tried again in local mode as well, where Spark's default is once: [cores, tries].
    spark = SparkSession.builder.appName("captions").master("local[*, 4]").getOrCreate()
    pictures = spark.read.format("binaryFile").option("recursiveFileLookup", True).load(folder)
    lightcap.spark.caption(pictures, model).write.mode("overwrite").parquet(output)
    spark.stop()


if __name__ == "__main__":
    main(*sys.argv[1:])
