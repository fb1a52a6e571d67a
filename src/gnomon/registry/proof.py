"""A proof to hand out: one forecast, the hashes before it, and how to check it without gnomon.

The file holds no other forecast's content, and can be committed, mailed or stamped: whoever has it before the
outcome can later show that the forecast stood then.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

from gnomon.common.errors import GnomonError
from gnomon.common.files import read_json, write_json
from gnomon.registry import timestamp
from gnomon.registry.chain import GENESIS, Entry, hash_of, is_hash
from gnomon.registry.gate import run_id_of
from gnomon.registry.registry import Registry
from gnomon.registry.verify import Problem, verify

PROOF_SCHEMA_VERSION = 1
CHECK = (
    'python3 -c "import hashlib, json, sys; '
    "e = json.load(open(sys.argv[1], encoding='utf-8'))['entry']; h = e.pop('hash'); "
    "t = json.dumps(e, sort_keys=True, separators=(',', ':'), ensure_ascii=False); "
    "print('sound' if hashlib.sha256(t.encode()).hexdigest() == h else 'EDITED', h)\" PROOF.json"
)


def export_proof(registry: Registry, forecast_hash: str, path: Path) -> Path:
    """Write the proof of one forecast. Raises GnomonError when there is no such forecast."""
    entry = registry.entry(forecast_hash)
    if entry.kind != "forecast":
        raise GnomonError(f"proof: {forecast_hash[:12]} is an entry of kind {entry.kind}; a proof is of a forecast")
    proof = {
        "what": "a forecast that gnomon registered; `instructions` says how to check it",
        "entry": entry.to_dict(),
        "chain": [e.hash for e in registry.entries()[: entry.index + 1]],
        "scored": registry.first(entry.body["target_hash"]) == entry,
        "timestamp_request": base64.b64encode(timestamp.request(entry.hash)).decode(),
        "instructions": _instructions(entry),
    }
    write_json(path, proof, PROOF_SCHEMA_VERSION)
    return path


def verify_proof(path: Path, registry_path: Path | None = None) -> list[Problem]:
    """What is wrong with a proof, and, with the registry it came from, whether that still holds the same entry.

    Raises GnomonError when the file is no proof at all.
    """
    proof = read_json(path, PROOF_SCHEMA_VERSION)
    try:
        entry = Entry.from_dict(proof["entry"])
        chain = proof["chain"]
        if not isinstance(chain, list) or not all(is_hash(item) for item in chain):
            raise ValueError("chain is no list of hashes")
        stated = base64.b64decode(proof["timestamp_request"])
    except (KeyError, TypeError, ValueError) as error:
        raise GnomonError(f"{path}: is no proof that gnomon wrote: {error}") from None
    problems = _proof_problems(entry, chain)
    if stated != timestamp.request(entry.hash):
        problems.append(Problem("edited", entry.index, "the time stamp request in the proof is not for its entry"))
    if registry_path is not None:
        known = _hashes(registry_path)
        problems += verify(registry_path, [entry.hash])
        if entry.hash in known and known[: len(chain)] != chain:
            message = "the proof and the registry disagree about what came before the entry"
            problems.append(Problem("edited", entry.index, message))
    return problems


def _proof_problems(entry: Entry, chain: list[str]) -> list[Problem]:
    problems = []
    if hash_of(entry.to_dict()) != entry.hash:
        problems.append(Problem("edited", entry.index, "the entry in the proof does not have the hash that it states"))
    if len(chain) != entry.index + 1 or not chain or chain[-1] != entry.hash:
        problems.append(Problem("edited", entry.index, "the chain in the proof does not end with its entry"))
    elif (chain[-2] if entry.index else GENESIS) != entry.previous:
        problems.append(
            Problem("edited", entry.index, "the chain in the proof is not the one that the entry continues")
        )
    if len(set(chain)) != len(chain):
        problems.append(Problem("duplicate", entry.index, "the chain in the proof holds a hash twice"))
    return problems


def _hashes(registry_path: Path) -> list[str]:
    """Hashes of the registry's lines as they state them; damage is for verify to name."""
    found: list[str] = []
    for raw in registry_path.read_bytes().splitlines() if registry_path.is_file() else []:
        try:
            value: Any = json.loads(raw)
        except ValueError:
            continue
        if isinstance(value, dict) and is_hash(value.get("hash")):
            found.append(value["hash"])
    return found


def _instructions(entry: Entry) -> list[str]:
    return [
        "1. The entry's hash is the SHA-256 of its canonical JSON without the field hash. Check it with Python alone:",
        CHECK,
        "2. entry.previous is the last but one item of chain, and the entry's hash is the last.",
        "3. To give it an outside witness: git add PROOF.json && git commit -m 'A sealed forecast' && git push",
        "   or have an authority stamp it (RFC 3161): decode timestamp_request (base64) to request.tsq, send it with",
        "   curl -H 'Content-Type: application/timestamp-query' --data-binary @request.tsq -o response.tsr AUTHORITY",
        f"   and check it: openssl ts -verify -digest {entry.hash} -in response.tsr -CAfile AUTHORITY.pem",
        "4. A hash says nothing about when. Only the witness does, and only that the entry is not younger than it.",
        "5. The target's seeds are derived from the entry's hash, so its run began after the entry was written."
        if run_id_of(entry) is not None
        else "5. The target's trainer took no seeds from the entry: only the witness shows that it ended later.",
    ]
