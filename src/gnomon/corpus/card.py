"""The corpus card: what a model was shown, what it never was, and how that was decided, for people to read."""

from __future__ import annotations

from typing import Any

SCHEMA_VERSION = 1
SPLIT_WORDS = {
    "train": "training text",
    "documents": "held-out documents of the same sources",
    "codebase": "held-out source, never trained on, evaluated only for registered targets",
    "development": "held-out source that recipes are tuned on",
}


def make_card(manifest: dict[str, Any]) -> dict[str, Any]:
    """The card of a manifest: plain values only, no machine paths."""
    vocab = manifest["tokenizer"]["vocab"]
    splits = {
        name: {
            "what": SPLIT_WORDS[name],
            "documents": s["documents"],
            "bytes": s["bytes"],
            "tokens": s["tokens"],
            "bytes_per_token": round(s["bytes"] / max(1, s["tokens"] - s["documents"]), 3),
            "sha256": s["sha256"],
        }
        for name, s in manifest["splits"].items()
    }
    return {
        "corpus": manifest["hash"],
        "sources": manifest["sources"],
        "skipped_sources": manifest["skipped"],
        "licences": sorted({s["licence"] for s in manifest["sources"]}),
        "splits": splits,
        "metric_set": manifest["metric_set"],
        "held_out": manifest["held_out"],
        "drops": manifest["drops"],
        "overlap_13gram": manifest["overlap"],
        "tokenizer": {**manifest["tokenizer"], "kind": f"byte-level BPE, {_origin(manifest)}, {vocab} tokens"},
        "notes": manifest["notes"],
    }


def _origin(manifest: dict[str, Any]) -> str:
    return "of another model" if "tokenizer" in manifest["recipe"] else "GPT-2's split pattern"


def describe(card: dict[str, Any]) -> list[str]:
    """The card in plain lines of text."""
    lines = [f"corpus {card['corpus'][:16]}"]
    for source in card["sources"]:
        version = f" {source['version']}" if source["version"] else ""
        role = "" if source["split"] == "train" else f" [{source['split']}]"
        lines.append(
            f"source {source['kind']} {source['name']}{version}{role}: {source['documents']} documents, "
            f"{_size(source['bytes'])}; licence: {source['licence']}"
        )
        if source["lost_files"] or source["passed_over_files"]:
            lines.append(
                f"  {source['lost_files']} files lost in part or whole ({_size(source['lost_bytes'])}), "
                f"{source['passed_over_files']} passed over as empty or no text; each is listed with its reason in "
                "lost.json"
            )
    lines += [f"skipped (optional, could not be reached): {name}" for name in card["skipped_sources"]]
    for name, s in card["splits"].items():
        lines.append(
            f"{name}: {s['what']}: {s['documents']} documents, {_size(s['bytes'])}, {s['tokens']} tokens "
            f"({s['bytes_per_token']:.2f} bytes each)"
        )
    lines.append(f"held out: {card['held_out']['words']}")
    for reason, mark in card["drops"].items():
        example = mark["examples"][0]
        copied = f" of {example['copy_of']}" if "copy_of" in example else ""
        lines.append(
            f"left out, {reason}: {mark['documents']} documents, {_size(mark['bytes'])} (such as {example['document']}"
            f"{copied})"
        )
    for name, o in card["overlap_13gram"].items():
        lines.append(
            f"13-gram check, {name}: {o['share']:.2%} of {o['grams']} runs of 13 words also occur in training text"
        )
    lines.append(f"tokenizer: {card['tokenizer']['kind']}")
    return lines + card["notes"]


def _size(count: int) -> str:
    """Bytes as a person reads them."""
    if count >= 1_000_000:
        return f"{count / 1e6:.1f} MB"
    return f"{count / 1e3:.1f} kB" if count >= 1000 else f"{count} bytes"
