"""Core: what every package needs and none owns: settings, errors, storage, digests, row counts, the tracker, jobs.

Import its modules by name (`raypipe.core.config`, `raypipe.core.storage`, ...); there is no single face, because most
packages need one or two of them and Hydra, Ray and fsspec should load only where they are used.
"""
