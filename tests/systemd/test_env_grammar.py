"""A few environment files as a real systemd reads them; `make chaos` asks it about 500."""

from pathlib import Path

import pytest

from tests.chaos.env_files import env_file
from tests.chaos.env_oracle import changed_or_refused, disagreements

pytestmark = pytest.mark.needs_systemd_ns


def test_g3_g4_g5_g6_g13_systemd_reads_every_other_variable_as_before(tmp_path: Path) -> None:
    """Our reader is systemd's grammar rebuilt; only systemd itself can say whether it is."""
    files = [env_file(seed) for seed in range(5000, 5040)]
    assert sum(1 for data in files if changed_or_refused(data)) > 20
    assert disagreements(files, tmp_path) == []
