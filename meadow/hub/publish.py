"""Publish a corpus: gate, head, plan, commit, compare, load back, open, tag, and the Space last.

The folder is read and hashed once, by the gate. What is published says where it is: the card, the
Croissant and the manifest are rendered with the data set's address, version and day, so that every
line of the card runs as it stands; the folder here stays as it is. A run that was cut anywhere is
run again and sends what is missing. A new data set is private until it is opened. The static Space
that shows a release comes last, since its page reads the tag.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Literal

from meadow.atomic import locked, write_json
from meadow.cards.card import CARD, merge_card
from meadow.cards.documents import render_documents
from meadow.cards.rows import refused_rows
from meadow.corpus.commit import with_documents
from meadow.corpus.documented import check_published
from meadow.corpus.folder import PUBLISHED
from meadow.corpus.manifest import (
    NAME,
    VERSION,
    Manifest,
    Published,
    library_versions,
    read_manifest,
)
from meadow.corpus.shards import read_parquet
from meadow.errors import CheckError, MeadowError, RefusedError, UsageError
from meadow.hub.files import find_commit, published_files
from meadow.hub.plan import Head, LocalFile, Made, Plan, find_head, make_plan, send
from meadow.hub.space import SDK, Space, check_open, closed, plan_space
from meadow.hub.verify import Rows, config_rows, front_matter, load_counts, shard_rows
from meadow.net.hub import HubClient, parse_reference
from meadow.quality.check import check_corpus
from meadow.sources import with_own

LICENSE_FOLDER = "LICENSES/"
MAX_NAMED = 5
_BRANCH = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/+-]*")
_OF_A_RELEASE = ("repository", "tag", "commit", "published", "files")
"""What a receipt keeps of the releases before its own."""

Gate = Literal["auto", "manual"]
Card = Literal["keep", "replace"]
"""What becomes of a card that was edited on the Hub: its words stay, or are replaced."""


@dataclass(frozen=True, slots=True)
class Release:
    """A corpus that may be published, as it was read and hashed: `total` rows in all shards."""

    folder: Path
    manifest: Manifest
    repository: str
    tag: str | None
    branch: str
    total: int
    space: Space | None


@dataclass(frozen=True, slots=True)
class Sent:
    """What there was to do, and the commit that has it."""

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
        pull_request: The page of the pull request; None where none was asked for.
    """

    tag: str | None
    rows: Rows
    space: Sent | None = None
    pull_request: str | None = None


@dataclass(frozen=True, slots=True)
class Publisher:
    """How to publish.

    Args:
        client: The Hub.
        public: Open the data set to everybody; a new one is private otherwise, one that is there
            stays as it is.
        gated: Ask readers to request access; None leaves it as it is.
        create_pr: Open a pull request instead of writing: for who may not write.
        card: What becomes of a card that was edited on the Hub; None refuses.
        report: Told one line per step.
        space: The static Space, `OWNER/SPACE`, that is to show the release; None for none.
    """

    client: HubClient = field(default_factory=HubClient)
    public: bool = False
    gated: Gate | None = None
    create_pr: bool = False
    card: Card | None = None
    report: Callable[[str], None] = lambda message: None
    space: str | None = None

    def plan(self, folder: Path, name: str) -> tuple[Plan, Plan | None]:
        """Check a corpus and say what its publication would change, and what in its Space.

        The name is `OWNER/NAME`, with `@vX.Y.Z` for a tag or `@BRANCH` for a branch. Nothing is
        sent.

        Raises:
            RefusedError: A licence does not allow it, the tag is on another commit, or the card
                was edited on the Hub.
            CheckError: The corpus has a finding.
            UsageError: A name is not one, the repository or the Space holds something else, or a
                Space is asked for without a tag or with a data set that is not open.
        """
        release = self._gate(folder, name)
        plan, _, _ = self._look(release)
        return plan, self._plan_space(release)

    def publish(self, folder: Path, name: str) -> Publication:
        """Publish a corpus under a name as `plan` takes it, then push the page of its Space.

        Raises:
            RefusedError, CheckError, UsageError: As `plan`, before anything is sent.
            HeadMovedError: Somebody else committed meanwhile; nothing was changed.
            NetworkError: The Hub does not answer as it should.
            LockedError: Another run holds the folder.
        """
        read_manifest(folder)  # no lock is laid into a folder that is no corpus
        with locked(folder):
            release = self._gate(folder, name)
            plan, head, expected = self._look(release)
            page = self._plan_space(release)
            if head is None:
                self._create(plan, private=not self.public)
                plan, head, expected = self._look(release)
            if not self.create_pr:
                self._set(release.repository, gated=self.gated)
            if head is not None and head.branch_is_new and not self.create_pr:
                self._branch(release, head)
            self.report(
                f"{len(plan.changed)} of {len(plan.files)} files are new or changed, "
                f"{len(plan.deleted)} go; at most {plan.bytes_to_send:,} bytes to send"
            )
            message = f"Publish {release.tag or 'a corpus'}: {release.total:,} rows"
            made = send(
                self.client, plan, message, self.report, release.branch, pull_request=self.create_pr
            )
            rows = self._load_back(release, made, expected)
            # only what loads as it should is opened, and only what is open is tagged
            if not self.create_pr:
                self._set(release.repository, public=self.public)
                self._tag(release, made.commit)
            done = Publication(plan, made.commit, release.tag, rows, pull_request=made.pull_request)
            earlier = _earlier_releases(folder, done)
            write_json(folder / PUBLISHED, self._receipt(done) | earlier)
            if page is not None and release.space is not None:
                done = replace(done, space=self._show(release.space, page))
                write_json(folder / PUBLISHED, self._receipt(done) | earlier)
            return done

    def _gate(self, folder: Path, name: str) -> Release:
        """What a corpus has to be before anything of it is sent: named, allowed, checked, whole."""
        repository, tag, branch = _named(name)
        if self.create_pr and (tag is not None or branch != "main"):
            raise UsageError(
                "a pull request has neither a tag nor a branch of its own",
                where=name,
                fix=f"write {repository}; who merges it sets the tag",
            )
        space = Space.of(self.space, repository, tag) if self.space is not None else None
        if space is not None and self.gated is not None:
            raise closed(space)
        manifest = read_manifest(folder)
        # Licences come first: they are the gate that no repair of the folder opens.
        check_licenses(folder, manifest)
        check_whole(folder, manifest)
        total = sum(shard.rows for shard in manifest.shards())
        self.report(f"checked {folder}: {total:,} rows")
        return Release(folder, manifest, repository, tag, branch, total, space)

    def _look(self, release: Release) -> tuple[Plan, Head | None, Rows]:
        """What the commit has to do, on which head, and the rows that its card promises.

        Held to: the tag can be on it, and nobody's words on the card are lost.
        """
        head = find_head(self.client, release.repository, release.branch)
        if head is None and self.create_pr:
            raise UsageError(
                "there is no data set to open a pull request on",
                where=release.repository,
                fix="publish without --create-pr",
            )
        manifest, documents = self._render(release, head)
        documents[NAME] = manifest.text().encode("utf-8")
        files = [LocalFile.of(path, data) for path, data in documents.items()]
        files += [
            LocalFile(path, release.folder / path, size, sha256)
            for path, (size, sha256) in published_files(manifest).items()
            if path not in documents
        ]
        files.sort(key=lambda file: file.path)
        plan = make_plan(head, release.repository, tuple(files))
        if release.tag is not None and head is not None:
            tagged = find_commit(self.client, release.repository, release.tag)
            if tagged is not None and (not plan.is_empty or tagged.id != plan.head):
                raise _taken(release, tagged.id)
        card = front_matter(documents[CARD].decode("utf-8"))
        return plan, head, config_rows(card, shard_rows(manifest))

    def _render(self, release: Release, head: Head | None) -> tuple[Manifest, dict[str, bytes]]:
        """Manifest and documents as they are published: they say where, as what, and when."""
        revision = release.tag or release.branch
        before = head.manifest if head is not None else None
        today = datetime.now(UTC).date().isoformat()
        told = before.published if before is not None else None
        if (
            before is not None
            and told is not None
            and (told.repository, told.revision) == (release.repository, revision)
            and before.splits() == release.manifest.splits()
        ):
            today = told.date  # the same rows again: they were published then
        keep = self._keeps_card(release, head)
        published = check_published(
            Published(
                repository=release.repository,
                revision=revision,
                date=today,
                endpoint=self.client.endpoint.rstrip("/"),
                kept_card=keep,
            )
        )
        details = {**release.manifest.details, "published": published.to_json()}
        manifest = replace(release.manifest, details=details)
        documents = render_documents(manifest, lambda path: release.folder / path)
        if keep and head is not None and head.card is not None:
            rendered = documents[CARD].decode("utf-8")
            documents[CARD] = merge_card(head.card, rendered).encode("utf-8")
        return with_documents(manifest, documents), documents

    def _keeps_card(self, release: Release, head: Head | None) -> bool:
        if head is None or not head.card_is_edited or self.card == "replace":
            return False
        if self.card is None:
            raise RefusedError(
                "the card was edited on the Hub, and publishing would cover that",
                where=f"{release.repository}/{CARD}",
                fix="--card keep keeps its words and brings the generated parts up to date, "
                "--card replace covers them",
            )
        return True

    def _plan_space(self, release: Release) -> Plan | None:
        if release.space is None:
            return None
        if not self.public:
            check_open(self.client, release.space)
        return plan_space(self.client, release.space)

    def _create(self, plan: Plan, *, private: bool, sdk: str | None = None) -> None:
        self.client.call(
            plan.where,
            self.client.api.create_repo,
            plan.repository,
            repo_type=plan.kind,
            space_sdk=sdk,
            private=private,
            exist_ok=True,
        )
        self.report(f"created {plan.where}" + (": private, --public opens it" if private else ""))

    def _branch(self, release: Release, head: Head) -> None:
        self.client.call(
            release.repository,
            self.client.api.create_branch,
            release.repository,
            branch=release.branch,
            revision=head.commit.id,
            repo_type="dataset",
            exist_ok=True,
        )
        self.report(f"made the branch {release.branch}")

    def _set(self, repository: str, *, public: bool = False, gated: Gate | None = None) -> None:
        """Close what has to be closed before there is anything to see, open it when it is whole."""
        api = self.client.api
        info = self.client.call(repository, api.dataset_info, repository)
        private = False if public and info.private else None
        gated = gated if gated is not None and info.gated != gated else None
        if private is not None or gated:
            self.client.call(
                repository,
                api.update_repo_settings,
                repository,
                repo_type="dataset",
                private=private,
                gated=gated,
            )

    def _load_back(self, release: Release, made: Made, expected: Rows) -> Rows:
        """Load every config as a user would, and count."""
        found = load_counts(self.client, release.repository, made.revision, list(expected))
        for name, rows in expected.items():
            if found.get(name) != rows:
                raise CheckError(
                    f"{name} loads with {found.get(name)} rows, not {rows}",
                    where=f"{release.repository}@{made.revision}",
                    fix="build and publish again; nothing was tagged",
                )
        self.report(f"loaded {', '.join(found)} back and counted the rows")
        return found

    def _tag(self, release: Release, commit: str) -> None:
        """Set the tag, unless it is there: a tag never moves."""
        client, repository, tag = self.client, release.repository, release.tag
        if tag is None:
            return

        def on_it() -> bool:
            there = find_commit(client, repository, tag)
            if there is not None and there.id != commit:
                raise _taken(release, there.id)
            return there is not None

        if on_it():
            return
        try:
            made = partial(
                client.api.create_tag, repository, tag=tag, revision=commit, repo_type="dataset"
            )
            client.call_once(repository, made, on_it)
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
            return Sent(page, send(self.client, page, message, self.report).commit)
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
            "pull_request": done.pull_request,
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
        if (page := done.space) is not None:
            receipt["space"] = {"repository": page.plan.repository, "commit": page.commit}
        return receipt


def _taken(release: Release, commit: str) -> RefusedError:
    return RefusedError(
        f"the tag {release.tag} is on commit {commit[:12]} already, and tags never move",
        where=release.repository,
        fix="publish under the next version",
    )


def _earlier_releases(folder: Path, done: Publication) -> dict[str, Any]:
    """What the receipt that is there says of other releases, which `meadow trace` asks for."""
    try:
        told = json.loads((folder / PUBLISHED).read_text(encoding="utf-8"))
        kept = [{name: told[name] for name in _OF_A_RELEASE}, *told.get("earlier", [])]
        now = (done.plan.repository, done.tag, done.commit)
        others = [one for one in kept if tuple(one[name] for name in _OF_A_RELEASE[:3]) != now]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}  # none, or one that says nothing
    return {"earlier": others} if others else {}


def check_whole(folder: Path, manifest: Manifest) -> None:
    """Read and hash everything that the manifest names.

    Raises:
        CheckError: `meadow check` has a finding, or the licence texts or the card are missing.
    """
    findings = [f"{found.kind}: {found.where}: {found.detail}" for found in check_corpus(folder)]
    for needed, what in (
        (LICENSE_FOLDER, "no licence texts"),
        (CARD, "the manifest names no card"),
    ):
        if not any(name.startswith(needed) for name in manifest.named()):
            findings.append(f"missing_file: {needed}: {what}")
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
        RefusedError: Rows whose licence forbids publishing, does not say, is missing or disputed.
    """
    known = with_own(manifest.own_sources)
    refused: Counter[tuple[str, str]] = Counter()
    for shard in manifest.shards():
        path = folder / shard.path
        if path.is_file():  # else a finding of the check
            refused += refused_rows(partial(read_parquet, path), known)
    if refused:
        listed = "; ".join(
            f"{source}: {count:,} rows under {why}"
            for (source, why), count in sorted(refused.items())
        )
        raise RefusedError(
            f"{sum(refused.values()):,} rows may not be published: {listed}",
            where=str(folder),
            fix="build a corpus without these sources; where the licence is not stated or disputed "
            "and you answer for it, write [vouch.SOURCE] into meadow.toml and build again",
        )


def _named(name: str) -> tuple[str, str | None, str]:
    """`OWNER/NAME[@REVISION]` as repository, tag and branch."""
    reference = parse_reference(name)
    revision = reference.revision
    if VERSION.fullmatch(revision):
        return reference.repository, revision, "main"
    if re.match(r"v?\d", revision) or not _BRANCH.fullmatch(revision):
        raise UsageError(
            f"{revision!r} is neither a version nor a branch",
            where=name,
            fix=f"write {reference.repository}@v1.2.0, {reference.repository}@BRANCH, or no "
            "revision",
        )
    return reference.repository, None, revision
