"""Publish a corpus: gate, plan, commit, compare, load back, tag, and the Space last.

The folder is read and hashed once, by the gate; from there on the release is what was hashed. A run
that was cut anywhere is run again and sends what is missing. The static Space that shows a release
comes last, since its page reads the tag.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from meadow.atomic import locked, write_json
from meadow.corpus.manifest import NAME, Manifest, library_versions, read_manifest
from meadow.corpus.shards import read_parquet
from meadow.errors import CheckError, MeadowError, RefusedError, UsageError
from meadow.hub.files import find_commit, published_files
from meadow.hub.plan import DATA, LocalFile, Plan, make_plan, send
from meadow.hub.space import SDK, Space, check_open, closed, plan_space
from meadow.hub.verify import CARD, Rows, config_rows, front_matter, load_counts, shard_rows
from meadow.licenses import LICENSES
from meadow.net.hub import HubClient, parse_reference
from meadow.quality.check import check_corpus

RECEIPT = "publish.json"
LICENSE_FOLDER = "LICENSES/"
MAX_NAMED = 5
_TAG = re.compile(r"v\d+\.\d+\.\d+(?:[-+.][\w.]+)?")

Gate = Literal["auto", "manual"]


@dataclass(frozen=True, slots=True)
class Release:
    """A corpus that may be published, as it was read and hashed.

    Args:
        repository: The data set, `OWNER/NAME`.
        tag: The version that it is to have; None for none.
        files: All that the manifest names, and the manifest.
        rows: Config -> split -> rows, as its card promises them.
        total: Rows of all shards.
        space: The Space that is to show it; None for none.
    """

    repository: str
    tag: str | None
    files: tuple[LocalFile, ...]
    rows: Rows
    total: int
    space: Space | None


@dataclass(frozen=True, slots=True)
class Sent:
    """What became of one plan.

    Args:
        plan: What there was to do.
        commit: The commit that has it.
    """

    plan: Plan
    commit: str

    @property
    def made_commit(self) -> bool:
        """Whether a commit was needed."""
        return not self.plan.is_empty


@dataclass(frozen=True, slots=True)
class Publication(Sent):
    """What was published.

    Args:
        tag: The tag on that commit; None where none was asked for.
        rows: Config -> split -> rows, as loaded back from the Hub.
        space: The page of the static Space that shows it; None where none was asked for.
    """

    tag: str | None
    rows: Rows
    space: Sent | None = None


@dataclass(frozen=True, slots=True)
class Publisher:
    """How to publish.

    Args:
        client: The Hub.
        private: Make the repository private.
        gated: Ask readers to request access; None leaves it as it is.
        report: Told one line per step.
        space: The static Space, `OWNER/SPACE`, that is to show the release; None for none.
    """

    client: HubClient = field(default_factory=HubClient)
    private: bool = False
    gated: Gate | None = None
    report: Callable[[str], None] = lambda message: None
    space: str | None = None

    def plan(
        self, folder: Path, repository: str, tag: str | None = None
    ) -> tuple[Plan, Plan | None]:
        """Check a corpus and say what its publication would change, and what in its Space.

        Nothing is sent.

        Raises:
            RefusedError: A licence does not allow it, or the tag is on another commit.
            CheckError: The corpus has a finding.
            UsageError: A name is not one, the repository or the Space holds something else, or a
                Space is asked for without a tag or with a data set that is not open.
        """
        release = self._gate(folder, repository, tag)
        return self._plan(release), self._plan_space(release)

    def publish(self, folder: Path, repository: str, tag: str | None = None) -> Publication:
        """Publish a corpus, then push the page of its Space.

        Raises:
            RefusedError, CheckError, UsageError: As `plan`, before anything is sent.
            HeadMovedError: Somebody else committed meanwhile; nothing was changed.
            NetworkError: The Hub does not answer as it should.
            LockedError: Another run holds the folder.
        """
        read_manifest(folder)  # no lock is laid into a folder that is no corpus
        with locked(folder):
            release = self._gate(folder, repository, tag)
            plan = self._plan(release)
            page = self._plan_space(release)
            if plan.head is None:
                self._create(plan, private=self.private)
                plan = self._plan(release)
            self._close(repository)
            self.report(
                f"{len(plan.changed)} of {len(plan.files)} files are new or changed, "
                f"{len(plan.deleted)} go; at most {plan.bytes_to_send:,} bytes to send"
            )
            message = f"Publish {tag or 'a corpus'}: {release.total:,} rows"
            commit = send(self.client, plan, message, self.report)
            rows = self._load_back(release, commit)
            self._tag(release, commit)
            done = Publication(plan, commit, tag, rows)
            write_json(folder / RECEIPT, self._receipt(done))
            if page is not None and release.space is not None:
                done = replace(done, space=self._show(release.space, page))
                write_json(folder / RECEIPT, self._receipt(done))
            return done

    def _gate(self, folder: Path, repository: str, tag: str | None) -> Release:
        """What a corpus has to be before anything of it is sent: named, allowed, checked, whole."""
        if str(parse_reference(repository)) != f"{repository}@main":
            raise UsageError(f"{repository!r} is not a repository", fix="write OWNER/NAME")
        if tag is not None and not _TAG.fullmatch(tag):
            raise UsageError(f"{tag!r} is not a version", fix="write a tag like v1.2.0")
        space = Space.of(self.space, repository, tag) if self.space is not None else None
        if space is not None and (self.private or self.gated is not None):
            raise closed(space)
        manifest = read_manifest(folder)
        # Licences come first: they are the gate that no repair of the folder opens.
        check_licenses(folder, manifest)
        check_whole(folder, manifest)
        total = sum(shard.rows for shard in manifest.shards())
        self.report(f"checked {folder}: {total:,} rows")
        files = [LocalFile.of(NAME, (folder / NAME).read_bytes())]
        documents: dict[str, bytes] = {}
        for name, (size, sha256) in published_files(manifest).items():
            path = folder / name
            if not name.startswith(DATA):
                # what is small is kept: it is parsed, compared and sent as it was read here
                documents[name] = path.read_bytes()
            files.append(LocalFile(name, documents.get(name, path), size, sha256))
        card = front_matter(documents[CARD].decode("utf-8"))
        if space is not None:
            space = replace(space, title=str(card.get("pretty_name") or space.title))
        return Release(
            repository,
            tag,
            tuple(sorted(files, key=lambda file: file.path)),
            config_rows(card, shard_rows(manifest)),
            total,
            space,
        )

    def _plan(self, release: Release) -> Plan:
        """What the commit has to do, and that the tag can be on it."""
        plan = make_plan(self.client, release.repository, release.files)
        if release.tag is None or plan.head is None:
            return plan
        tagged = find_commit(self.client, release.repository, release.tag)
        if tagged is not None and (not plan.is_empty or tagged.id != plan.head):
            raise RefusedError(
                f"the tag {release.tag} is on commit {tagged.id[:12]} already, and tags never move",
                where=release.repository,
                fix="publish under the next version",
            )
        return plan

    def _plan_space(self, release: Release) -> Plan | None:
        if release.space is None:
            return None
        check_open(self.client, release.space)
        return plan_space(self.client, release.space)

    def _create(self, plan: Plan, *, private: bool, sdk: str | None = None) -> None:
        self.client.call(
            plan.where,
            lambda: self.client.api.create_repo(
                plan.repository,
                repo_type=plan.kind,
                space_sdk=sdk,
                private=private,
                exist_ok=True,
            ),
        )
        self.report(f"created {plan.where}")

    def _close(self, repository: str) -> None:
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

    def _load_back(self, release: Release, commit: str) -> Rows:
        """Load every config as a user would, and count."""
        found = load_counts(self.client, release.repository, commit, list(release.rows))
        for name, expected in release.rows.items():
            if found.get(name) != expected:
                raise CheckError(
                    f"{name} loads with {found.get(name)} rows, not {expected}",
                    where=f"{release.repository}@{commit}",
                    fix="build and publish again; nothing was tagged",
                )
        self.report(f"loaded {len(found)} configs back and counted them")
        return found

    def _tag(self, release: Release, commit: str) -> None:
        """Set the tag, unless it is there: a tag never moves."""
        client, repository, tag = self.client, release.repository, release.tag
        if tag is None:
            return

        def on_it() -> bool:
            there = find_commit(client, repository, tag)
            if there is not None and there.id != commit:
                raise RefusedError(
                    f"the tag {tag} is on another commit already, and tags never move",
                    where=repository,
                    fix="publish under the next version",
                )
            return there is not None

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

    def _show(self, space: Space, page: Plan) -> Sent:
        """Push the page in one commit; none where the Space has it already."""
        try:
            if page.head is None:
                self._create(page, private=False, sdk=SDK)
                page = plan_space(self.client, space)
            message = f"Show {space.corpus} at {space.tag}"
            return Sent(page, send(self.client, page, message, self.report))
        except MeadowError:
            self.report(
                f"{space.corpus}@{space.tag} is published, its page on {space.where} is not: "
                "the same command pushes it"
            )
            raise

    def _receipt(self, done: Publication) -> dict[str, Any]:
        """publish.json: what went where."""
        files = {file.path: file for file in done.plan.files}
        receipt: dict[str, Any] = {
            "repository": done.plan.repository,
            "endpoint": self.client.endpoint,
            "commit": done.commit,
            "tag": done.tag,
            "published": datetime.now(UTC).isoformat(timespec="seconds"),
            "manifest_sha256": files[NAME].sha256,
            "rows": done.rows,
            "files": {
                path: {"bytes": file.size, "sha256": file.sha256} for path, file in files.items()
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


def check_whole(folder: Path, manifest: Manifest) -> None:
    """Read and hash everything that the manifest names.

    Raises:
        CheckError: `meadow check` has a finding, or the licence texts or the card are missing.
    """
    findings = [f"{found.kind}: {found.where}: {found.detail}" for found in check_corpus(folder)]
    if not any(name.startswith(LICENSE_FOLDER) for name in manifest.named()):
        findings.append(f"missing_file: {LICENSE_FOLDER}: no licence texts")
    if CARD not in manifest.named():
        findings.append(f"missing_file: {CARD}: the manifest names no card")
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
