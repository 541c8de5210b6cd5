"""Read a published data set with every client that users have; compare with the local rows.

Run in a process of its own: `python clients.py FOLDER REPOSITORY REVISION`. Prints one JSON object.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any


def main(folder: Path, repository: str, revision: str) -> dict[str, Any]:
    import datasets
    import pandas as pd
    import polars as pl
    import pyarrow.dataset as pads
    import pyarrow.parquet as pq
    from huggingface_hub import HfApi, HfFileSystem, snapshot_download

    import meadow
    from meadow.api import open_corpus
    from meadow.atomic import sha256_file

    local = open_corpus(folder)
    found: dict[str, Any] = {}
    names = datasets.get_dataset_config_names(repository, revision=revision)
    found["configs"] = sorted(names)
    wanted_all = [row for config in local.configs for row in local.to_arrow(config).to_pylist()]
    for name in names:
        loaded = datasets.load_dataset(repository, name, revision=revision, split="train")
        wanted = wanted_all if name == "all" else local.to_arrow(name).to_pylist()
        found[f"load {name}"] = loaded.to_list() == wanted
    default = datasets.load_dataset(repository, revision=revision, split="train")
    found["default config"] = default.to_list() == wanted_all
    streamed = datasets.load_dataset(
        repository, "all", revision=revision, split="train", streaming=True
    )
    found["streaming"] = [dict(row) for row in streamed] == wanted_all

    files = HfFileSystem()
    root = f"datasets/{repository}@{revision}"
    shard = local.shards()[0]
    wanted = local.to_arrow(local.configs[0]).to_pylist()
    frame = pd.read_parquet(f"hf://{root}/{shard.path}")
    found["pandas"] = frame["output"].tolist() == [row["output"] for row in wanted]
    paths = sorted(files.glob(f"{root}/data/*/*.parquet"))
    found["glob"] = len(paths) == len(local.shards())
    table = pads.dataset(paths, filesystem=files, format="parquet").to_table()
    found["pyarrow"] = sorted(table["id"].to_pylist()) == sorted(row["id"] for row in wanted_all)
    with files.open(f"{root}/{shard.path}", "rb") as file:
        found["polars"] = pl.read_parquet(file)["id"].to_list() == [row["id"] for row in wanted]
    with files.open(f"{root}/{shard.path}", "rb") as file:
        found["footer"] = pq.ParquetFile(file).metadata.num_rows == shard.rows

    snapshot = Path(snapshot_download(repository, repo_type="dataset", revision=revision))
    found["snapshot"] = all(
        sha256_file(snapshot / name) == sha256
        for name, (_, sha256) in local.manifest.named().items()
        if name.startswith("data/")
    )
    found["info"] = HfApi().dataset_info(repository, revision=revision).card_data.pretty_name
    opened = meadow.open_corpus(f"hf://{repository}@{revision}", verify=True)
    found["open_corpus"] = opened.to_arrow().to_pylist() == local.to_arrow().to_pylist()
    return found


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), sys.argv[2], sys.argv[3])))
