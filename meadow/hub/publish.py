"""Publish a corpus: one commit with everything, seen again from outside, then an immutable tag.

A run that was cut anywhere is run again and sends what is missing. The static Space that shows a
release comes last, since its page reads the tag.
"""

from __future__ import annotations

import re
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

from meadow.atomic import locked, sha256_file, write_json
from meadow.corpus.manifest import Manifest, library_versions, read_manifest
from meadow.corpus.shards import read_parquet
from meadow.errors import CheckError, MeadowError, RefusedError, UsageError
from meadow.hub.plan import Plan, commit_of, commit_plan, compare, make_plan
from meadow.hub.space import Space, SpacePublication, closed, plan_space, publish_space
from meadow.licenses import LICENSES
from meadow.net.hub import HubClient, network_cause, parse_reference
from meadow.net.redaction import redact

# Load a published data set as its users do, with `datasets`, and count.


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
                found[config] = client.call(where, load)
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


# What a corpus has to be before anything of it is sent: whole, checked and allowed.


CARD = "README.md"
LICENSE_FOLDER = "LICENSES/"
MAX_NAMED = 5


def check_publishable(folder: Path, manifest: Manifest) -> None:
    """Raise where a folder must not be published.

    Raises:
        RefusedError: A row's licence does not allow it.
        CheckError: `meadow check` has a finding, the card says something else than the files, or
            the licence texts are missing.
    """
    from meadow.quality.check import check_corpus

    # Licences come first: they are the gate that no repair of the folder opens.
    check_licenses(folder, manifest)
    findings = [f"{found.kind}: {found.where}: {found.detail}" for found in check_corpus(folder)]
    if not any(name.startswith(LICENSE_FOLDER) for name in manifest.named()):
        findings.append(f"missing_file: {LICENSE_FOLDER}: no licence texts")
    card = folder / CARD
    if card.is_file():
        findings += card_findings(card.read_text(encoding="utf-8"), manifest)
    if findings:
        shown = "; ".join(findings[:MAX_NAMED])
        raise CheckError(
            f"{len(findings)} findings, so nothing is published: {shown}",
            where=str(folder),
            fix=f"see all of them with `meadow check {folder}`, and build or render again",
        )


def check_licenses(folder: Path, manifest: Manifest) -> None:
    """Read the licence of every row; a single one that does not allow publishing stops it.

    Raises:
        RefusedError: Rows whose licence forbids publishing, does not say, or is missing.
    """
    refused: Counter[tuple[str, str]] = Counter()
    for shard in manifest.shards():
        path = folder / shard.path
        if not path.is_file():
            continue  # a finding of the check
        table = read_parquet(path, ["license", "source"])
        counts = table.group_by(["license", "source"]).aggregate([([], "count_all")])
        for row in counts.to_pylist():
            known = LICENSES.get(row["license"])
            if known is None or known.redistribute != "yes":
                refused[str(row["source"]), row["license"] or "none stated"] += row["count_all"]
    if refused:
        listed = "; ".join(
            f"{source}: {count:,} rows under {name}"
            for (source, name), count in sorted(refused.items())
        )
        raise RefusedError(
            f"{sum(refused.values()):,} rows may not be published: {listed}",
            where=str(folder),
            fix="build a corpus without these sources; others rebuild them with the same recipe",
        )


def front_matter(text: str) -> dict[str, Any]:
    """The YAML block at the head of a card.

    Raises:
        ValueError: There is none, or it is not a YAML mapping.
    """
    import yaml

    _, opened, rest = text.partition("---\n")
    block, closed, _ = rest.partition("\n---")
    try:
        value = yaml.safe_load(block) if opened and closed else None
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error
    if not isinstance(value, dict):
        raise ValueError("no YAML block at its head")
    return value


def card_findings(text: str, manifest: Manifest) -> list[str]:
    """Where a card promises other rows than the manifest: `load_dataset` would refuse to load.

    Each config's globs are resolved against the manifest's shards, and the number of examples in
    dataset_info is held to the rows of those shards.
    """
    try:
        values = front_matter(text)
    except ValueError as error:
        return [f"card: {CARD}: its YAML cannot be read: {error}"]
    findings = []
    rows = config_rows(values, manifest)
    shards = {shard.path for shard in manifest.shards()}
    covered = {
        path
        for config in _listed(values.get("configs"))
        for entry in _listed(config.get("data_files"))
        for path in shards
        if _matches(path, entry)
    }
    findings += [f"card: {CARD}: no config has {path}" for path in sorted(shards - covered)]
    for info in _listed(values.get("dataset_info")):
        name = info.get("config_name", "default")
        stated = {split["name"]: split["num_examples"] for split in _listed(info.get("splits"))}
        if stated != rows.get(name):
            findings.append(f"card: {CARD}: {name} has {rows.get(name)} rows, not {stated}")
    return findings


def config_rows(values: Mapping[str, Any], manifest: Manifest) -> dict[str, dict[str, int]]:
    """Config -> split -> rows: what the card's globs give with the manifest's shards."""
    found: dict[str, dict[str, int]] = {}
    for config in _listed(values.get("configs")):
        splits: dict[str, int] = {}
        for entry in _listed(config.get("data_files")):
            matching = [s.rows for s in manifest.shards() if _matches(s.path, entry)]
            splits[str(entry.get("split", "train"))] = sum(matching)
        found[str(config.get("config_name", "default"))] = splits
    return found


def default_config(values: Mapping[str, Any]) -> str | None:
    """The config that `load_dataset` takes when none is named."""
    for config in _listed(values.get("configs")):
        if config.get("default"):
            return str(config["config_name"])
    return None


def _listed(value: object) -> list[dict[str, Any]]:
    values = value if isinstance(value, list) else [value]
    return [item for item in values if isinstance(item, dict)]


def _matches(path: str, entry: Mapping[str, Any]) -> bool:
    """Whether a glob of the card names the shard; `*` stays within one folder."""
    globs = entry.get("path", ())
    parts = path.split("/")
    for glob in [globs] if isinstance(globs, str) else globs:
        patterns = str(glob).split("/")
        if len(patterns) == len(parts) and all(map(fnmatchcase, parts, patterns)):
            return True
    return False


RECEIPT = "publish.json"
_TAG = re.compile(r"v\d+\.\d+\.\d+(?:[-+.][\w.]+)?")

Gate = Literal["auto", "manual"]
LoadCounts = Callable[[HubClient, str, str, list[str]], dict[str, dict[str, int]]]


@dataclass(frozen=True, slots=True)
class Publication:
    """What was published.

    Args:
        plan: What there was to do.
        commit: The commit that has it.
        tag: The tag on that commit; None where none was asked for.
        made_commit: Whether a commit was needed.
        rows: Config -> split -> rows, as loaded back from the Hub.
        space: The static Space that shows it; None where none was asked for.
    """

    plan: Plan
    commit: str
    tag: str | None
    made_commit: bool
    rows: dict[str, dict[str, int]]
    space: SpacePublication | None = None


@dataclass(frozen=True, slots=True)
class Publisher:
    """How to publish.

    Args:
        client: The Hub.
        private: Make the repository private.
        gated: Ask readers to request access; None leaves it as it is.
        report: Told one line per step.
        load: Loads every config of a commit and counts; `datasets` itself by default.
        space: The static Space, `OWNER/SPACE`, that is to show the release; None for none.
    """

    client: HubClient = field(default_factory=HubClient)
    private: bool = False
    gated: Gate | None = None
    report: Callable[[str], None] = lambda message: None
    load: LoadCounts = load_counts
    space: str | None = None

    def plan(self, folder: Path, repository: str, tag: str | None = None) -> Plan:
        """Check a corpus and say what its publication would change. Nothing is sent.

        Raises:
            RefusedError: A licence does not allow it, or the tag is on another commit.
            CheckError: The corpus has a finding.
            UsageError: A name is not one, the repository holds something else, or a Space is asked
                for without a tag or with a data set that is not open.
        """
        if str(parse_reference(repository)) != f"{repository}@main":
            raise UsageError(f"{repository!r} is not a repository", fix="write OWNER/NAME")
        if tag is not None and not _TAG.fullmatch(tag):
            raise UsageError(f"{tag!r} is not a version", fix="write a tag like v1.2.0")
        self._space(repository, tag)
        manifest = read_manifest(folder)
        check_publishable(folder, manifest)
        self.report(f"checked {folder}: {sum(s.rows for s in manifest.shards()):,} rows")
        plan = make_plan(self.client, folder, manifest, repository, tag)
        if plan.tagged is not None and (not plan.is_empty or plan.tagged != plan.head):
            raise RefusedError(
                f"the tag {tag} is on commit {plan.tagged[:12]} already, and tags never move",
                where=repository,
                fix="publish under the next version",
            )
        return plan

    def plan_space(self, folder: Path, repository: str, tag: str | None = None) -> Plan | None:
        """Say what would change in the Space; None where none was asked for. Nothing is sent.

        Raises:
            UsageError: There is no tag, the data set is closed, or the Space shows something else.
        """
        space = self._space(repository, tag)
        return None if space is None else plan_space(self.client, self._titled(space, folder))

    def publish(self, folder: Path, repository: str, tag: str | None = None) -> Publication:
        """Publish a corpus, then push the page of its Space.

        Raises:
            RefusedError, CheckError, UsageError: As `plan` and `plan_space`, before anything is
                sent.
            HeadMovedError: Somebody else committed meanwhile; nothing was changed.
            NetworkError: The Hub does not answer as it should.
            LockedError: Another run holds the folder.
        """
        with locked(folder):
            manifest = read_manifest(folder)
            plan = self.plan(folder, repository, tag)
            space = self._space(repository, tag)
            if space is not None:
                space = self._titled(space, folder)
                plan_space(self.client, space)
            if plan.head is None:
                self._create(repository)
                plan = make_plan(self.client, folder, manifest, repository, tag)
            self._settings(repository)
            self.report(
                f"{len(plan.changed)} of {len(plan.files)} files are new or changed, "
                f"{len(plan.deleted)} go; at most {plan.bytes_to_send:,} bytes to send"
            )
            head = plan.head or ""
            commit = head
            if not plan.is_empty:
                total = sum(shard.rows for shard in manifest.shards())
                message = f"Publish {tag or 'a corpus'}: {total:,} rows"
                commit = commit_plan(self.client, folder, plan, message, self.report)
            compare(self.client, folder, plan, commit, self.report)
            rows = self._load(folder, repository, commit, manifest)
            if tag is not None:
                self._tag(repository, tag, commit)
            done = Publication(plan, commit, tag, commit != head, rows)
            write_json(folder / RECEIPT, self._receipt(folder, done))
            if space is None:
                return done
            done = replace(done, space=self._push(space))
            write_json(folder / RECEIPT, self._receipt(folder, done))
            return done

    def _space(self, repository: str, tag: str | None) -> Space | None:
        """The Space that is asked for."""
        if self.space is None:
            return None
        space = Space.of(self.space, repository, tag)
        if self.private or self.gated is not None:
            raise closed(space)
        return space

    @staticmethod
    def _titled(space: Space, folder: Path) -> Space:
        """The Space, titled like the card of a checked corpus."""
        card = front_matter((folder / CARD).read_text(encoding="utf-8"))
        return replace(space, title=str(card.get("pretty_name") or space.title))

    def _push(self, space: Space) -> SpacePublication:
        try:
            return publish_space(self.client, space, self.report)
        except MeadowError:
            self.report(
                f"{space.corpus}@{space.tag} is published, its page on {space.where} is not: "
                "the same command pushes it"
            )
            raise

    def _create(self, repository: str) -> None:
        self.client.call(
            repository,
            lambda: self.client.api.create_repo(
                repository, repo_type="dataset", private=self.private, exist_ok=True
            ),
        )
        self.report(f"created {repository}")

    def _settings(self, repository: str) -> None:
        """Close what has to be closed, before there is anything to see."""
        info = self.client.call(repository, lambda: self.client.api.dataset_info(repository))
        private = True if self.private and not info.private else None
        gated = self.gated if self.gated is not None and info.gated != self.gated else None
        if private or gated:
            self.client.call(
                repository,
                lambda: self.client.api.update_repo_settings(
                    repository, repo_type="dataset", private=private, gated=gated
                ),
            )

    def _load(
        self, folder: Path, repository: str, commit: str, manifest: Manifest
    ) -> dict[str, dict[str, int]]:
        """Load every config as a user would, and count."""
        card = front_matter((folder / CARD).read_text(encoding="utf-8"))
        expected = config_rows(card, manifest)
        found = self.load(self.client, repository, commit, list(expected))
        if found != expected:
            wrong = [name for name in expected if found.get(name) != expected[name]]
            raise CheckError(
                f"{wrong[0]} loads with {found.get(wrong[0])} rows, not {expected[wrong[0]]}",
                where=f"{repository}@{commit}",
                fix="build and publish again; nothing was tagged",
            )
        self.report(f"loaded {len(found)} configs back and counted them")
        return found

    def _tag(self, repository: str, tag: str, commit: str) -> None:
        client = self.client

        def on_it() -> bool:
            there = commit_of(client, repository, tag)
            if there not in {None, commit}:
                raise RefusedError(
                    f"the tag {tag} is on another commit already, and tags never move",
                    where=repository,
                    fix="publish under the next version",
                )
            return there == commit

        if on_it():
            return
        try:
            client.call_once(
                repository,
                lambda: client.api.create_tag(
                    repository, tag=tag, revision=commit, repo_type="dataset"
                ),
                on_it,
            )
        except MeadowError:
            if not on_it():
                raise
        self.report(f"tagged {tag}")

    def _receipt(self, folder: Path, done: Publication) -> dict[str, Any]:
        """publish.json: what went where."""
        receipt: dict[str, Any] = {
            "repository": done.plan.repository,
            "endpoint": self.client.endpoint,
            "commit": done.commit,
            "tag": done.tag,
            "published": datetime.now(UTC).isoformat(timespec="seconds"),
            "manifest_sha256": sha256_file(folder / "MANIFEST.json"),
            "rows": done.rows,
            "files": {
                file.path: {"bytes": file.size, "sha256": file.sha256} for file in done.plan.files
            },
            "changed": list(done.plan.changed),
            "deleted": list(done.plan.deleted),
            "versions": library_versions(),
        }
        if done.space is not None:
            receipt["space"] = {
                "repository": done.space.plan.repository,
                "commit": done.space.commit,
            }
        return receipt
