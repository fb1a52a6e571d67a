"""The benchmark of the search for copies finds what it planted, and says so in words."""

from __future__ import annotations

from gnomon.workflow.bench_dedup import bench_dedup, dedup_lines


def test_everything_planted_is_found_in_two_megabytes() -> None:
    measured = bench_dedup(megabytes=2, memory_mb=64, threads=1, seed=1)
    assert measured["missed_copies"] == 0 and measured["planted_copies"] > 50
    assert measured["found_passages"] == measured["planted_passages"] > 50
    assert "MB/s" in dedup_lines(measured)[1]
