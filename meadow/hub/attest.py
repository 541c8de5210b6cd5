"""Signed statements that a party got the same bytes, and how many there are.

A statement is in-toto's (v1) with SLSA's provenance (v1) as predicate: the shards are its subjects,
the raw files what they were made of. It is signed with an ed25519 key in a DSSE envelope, whose
signature carries the public key beside its id, so that anyone can check it; whose key it is, the
envelope cannot tell. The files stand in the data set's folder `attestations/`.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meadow.cards.command import regenerate
from meadow.corpus.manifest import Manifest
from meadow.errors import FileError, UsageError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

FOLDER = "attestations/"
PAYLOAD = "application/vnd.in-toto+json"
STATEMENT = "https://in-toto.io/Statement/v1"
PROVENANCE = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "urn:medical-meadow:rebuild:v1"
KEY = Path("~/.config/medical-meadow/ed25519.pem")
_INSTALL = "pip install 'medical-meadow[attest]'"


def statement(
    published: Manifest, address: str, commit: str, inputs: Mapping[str, str], key_id: str
) -> dict[str, Any]:
    """What is signed: that the shards of a commit were made again from inputs (name -> SHA-256)."""
    return {
        "_type": STATEMENT,
        "subject": [
            {"name": shard.path, "digest": {"sha256": shard.sha256}} for shard in published.shards()
        ],
        "predicateType": PROVENANCE,
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": {
                    "dataset": address,
                    "commit": commit,
                    "command": regenerate(published),
                },
                "internalParameters": {"versions": published.versions},
                "resolvedDependencies": [
                    {"name": name, "digest": {"sha256": sha256}}
                    for name, sha256 in sorted(inputs.items())
                ],
            },
            "runDetails": {
                "builder": {"id": f"urn:ed25519:{key_id}"},
                "metadata": {"finishedOn": datetime.now(UTC).isoformat(timespec="seconds")},
            },
        },
    }


def load_key(path: Path | None) -> tuple[Ed25519PrivateKey, str]:
    """The user's ed25519 key (PEM or OpenSSH), and its id; without a path one is made and kept.

    Raises:
        UsageError: `cryptography` is not installed, or the key is none of ed25519.
        FileError: The file cannot be read.
    """
    try:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    except ImportError as error:
        raise UsageError("cryptography is not installed", fix=_INSTALL) from error
    own = KEY.expanduser()
    if path is None and not own.exists():
        own.parent.mkdir(parents=True, exist_ok=True)
        made = Ed25519PrivateKey.generate().private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        with os.fdopen(os.open(own, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(made)
    where = path or own
    try:
        data = where.read_bytes()
    except OSError as error:
        raise FileError(f"the key cannot be read: {error.strerror}", where=str(where)) from error
    openssh = b"OPENSSH PRIVATE KEY" in data
    load = serialization.load_ssh_private_key if openssh else serialization.load_pem_private_key
    try:
        key = load(data, None)
    except (ValueError, TypeError) as error:  # TypeError: it asks for a password
        raise UsageError(
            f"the key cannot be used: {' '.join(str(error).split())[:200]}",
            where=str(where),
            fix="give an ed25519 key without a password, as PEM or OpenSSH wrote it",
        ) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise UsageError(
            "the key is none of ed25519", where=str(where), fix="ssh-keygen -t ed25519"
        )
    return key, _key_id(key.public_key().public_bytes_raw())


def sign(document: Mapping[str, Any], key: Ed25519PrivateKey) -> dict[str, Any]:
    """A statement in its envelope."""
    payload = json.dumps(document, ensure_ascii=False, sort_keys=True).encode()
    public = key.public_key().public_bytes_raw()
    return {
        "payloadType": PAYLOAD,
        "payload": base64.b64encode(payload).decode(),
        "signatures": [
            {
                "keyid": _key_id(public),
                "sig": base64.b64encode(key.sign(_encoded(payload))).decode(),
                "public": base64.b64encode(public).decode(),
            }
        ],
    }


def file_name(key_id: str, commit: str) -> str:
    """Where an envelope stands in the data set: one for each key and commit."""
    return f"{FOLDER}{key_id[:16]}-{commit[:12]}.json"


def attested(envelopes: Iterable[bytes], published: Manifest) -> tuple[set[str], int]:
    """The keys whose valid statements are of all shards of a manifest, and how many are not.

    Without the library `cryptography` none can be told to be valid.
    """
    wanted = {shard.path: shard.sha256 for shard in published.shards()}
    signers = [_signer(envelope, wanted) for envelope in envelopes]
    return set(filter(None, signers)), signers.count("")


def _signer(envelope: bytes, wanted: Mapping[str, str]) -> str:
    """The key of a valid statement of exactly these subjects; "" for any other bytes."""
    try:
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    except ImportError:
        return ""
    try:
        document = json.loads(envelope)
        payload = base64.b64decode(document["payload"], validate=True)
        (signature,) = document["signatures"]
        public = base64.b64decode(signature["public"], validate=True)
        Ed25519PublicKey.from_public_bytes(public).verify(
            base64.b64decode(signature["sig"], validate=True), _encoded(payload)
        )
        told = json.loads(payload)
        subjects = {item["name"]: item["digest"]["sha256"] for item in told["subject"]}
        whole = (
            document["payloadType"] == PAYLOAD
            and told["_type"] == STATEMENT
            and told["predicate"]["buildDefinition"]["buildType"] == BUILD_TYPE
            and subjects == wanted
            and signature["keyid"] == _key_id(public)
        )
    except (ValueError, TypeError, KeyError, InvalidSignature, RecursionError):
        return ""
    return _key_id(public) if whole else ""


def _encoded(payload: bytes) -> bytes:
    """What is signed of an envelope: type and payload with their lengths (DSSE's PAE)."""
    return b"DSSEv1 %d %b %d %b" % (len(PAYLOAD), PAYLOAD.encode(), len(payload), payload)


def _key_id(public: bytes) -> str:
    return hashlib.sha256(public).hexdigest()
