"""The editor of environment files against a real systemd."""

import time
from pathlib import Path

import pytest

from tests.chaos.env_files import env_file
from tests.chaos.env_oracle import changed_or_refused, disagreements
from tests.chaos.figures import SUMMARIES, Summary

FILES = 500


@pytest.mark.timeout(1800)
@pytest.mark.needs_systemd_ns
def test_g3_g4_g5_g6_g13_systemd_reads_every_other_variable_as_before(tmp_path: Path) -> None:
    """Each of 500 files is read as systemd reads it, and after the rewriting only one value is another."""
    began = time.monotonic()
    files = [env_file(seed) for seed in range(FILES)]
    rewritten = sum(1 for data in files if changed_or_refused(data))
    found = disagreements(files, tmp_path)
    SUMMARIES.append(
        Summary(
            title="environment files against systemd",
            seconds=time.monotonic() - began,
            points=FILES,
            violations=len(found),
            detail=f"{rewritten} rewritten",
        )
    )
    assert rewritten > FILES / 2
    assert found == []
