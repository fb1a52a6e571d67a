"""Bytes to documents to marked, deduplicated, split, tokenised shards to the token rows of step t. Knows no model."""
