"""Many traces from many hosts as one data set of Parquet files, and what it says when it is asked.

    rebuild.py   one saved trace -> its rows, as Parquet in memory. Pure: this is what a cluster's workers run
    places.py    where traces and the data set are: folders, or any address that fsspec knows
    dataset.py   brings a data set up to date with its traces, here or on a Dask cluster
    questions.py what is asked of it: rates, templates, failures, copies, storms; DuckDB does the work

The layout is `TABLE/host=NAME/day=YYYY-MM-DD/TRACE.parquet`, so DuckDB, Spark, polars and pyarrow read it too. Files
are named by what their trace is (place, size, time): a trace is rebuilt once, and again when it has changed.
duckdb and fsspec, and distributed for a cluster, are optional extras of the distribution, imported when used.
"""
