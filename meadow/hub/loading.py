"""Load a published data set as its users do, with `datasets`, and count."""

from __future__ import annotations

import tempfile

from meadow.errors import CheckError, MeadowError
from meadow.net.hub import HubClient, network_cause
from meadow.net.redaction import redact


def load_counts(
    client: HubClient, repository: str, commit: str, configs: list[str]
) -> dict[str, dict[str, int]]:
    """Config -> split -> rows, loaded from the Hub; the tables are thrown away.

    Raises:
        CheckError: A config does not load.
        NetworkError: The Hub does not answer as it should.
    """
    import datasets

    datasets.disable_progress_bars()
    found: dict[str, dict[str, int]] = {}
    with tempfile.TemporaryDirectory(prefix="meadow-load-") as cache:
        for config in configs:

            def load(config: str = config) -> dict[str, int]:
                try:
                    loaded = datasets.load_dataset(
                        repository, config, revision=commit, cache_dir=cache
                    )
                    return {str(split): len(rows) for split, rows in loaded.items()}
                except Exception as error:
                    # `datasets` says "file not found" for any request that failed.
                    failed = network_cause(error) or error
                raise failed

            where = f"{repository}@{commit}"
            try:
                found[config] = client.get(where, load)
            except MeadowError:
                raise
            except Exception as error:
                text = redact(" ".join(f"{type(error).__name__}: {error}".split()))
                raise CheckError(
                    f"the config {config} does not load: {text[:400]}",
                    where=where,
                    fix="build the corpus again; nothing was tagged",
                ) from error
    return found
