"""What a card promises, without a Hub; the rest of `verify` is in test_reading."""

from meadow.corpus.manifest import Manifest, Shard
from meadow.hub.verify import config_rows, shard_rows


def shard(path: str, rows: int) -> Shard:
    return Shard(path=path, rows=rows, bytes=1, sha256="0" * 64)


def test_rows_beside_the_configs_count_as_the_card_names_them() -> None:
    """The originals of a rewriting are a config of their own and no part of `all`."""
    path = "data/raw_pairs/original-00000-of-00001.parquet"
    beside = {"path": path, "rows": 3, "bytes": 1, "sha256": "0" * 64}
    manifest = Manifest(
        stage="mix",
        config_hash="",
        settings={},
        configs={
            "a": {"train": (shard("data/a/train-00000-of-00001.parquet", 5),)},
            "b": {"train": (shard("data/b/train-00000-of-00001.parquet", 7),)},
        },
        details={"sidecars": {"raw_pairs": {"original": [beside]}}},
    )
    card = {
        "configs": [
            {"config_name": name, "data_files": [{"split": split, "path": path}]}
            for name, split, path in (
                ("all", "train", "data/*/train-*.parquet"),
                ("a", "train", "data/a/train-*.parquet"),
                ("raw_pairs", "original", "data/raw_pairs/original-*.parquet"),
            )
        ]
    }
    assert config_rows(card, shard_rows(manifest)) == {
        "all": {"train": 12},
        "a": {"train": 5},
        "raw_pairs": {"original": 3},
    }
