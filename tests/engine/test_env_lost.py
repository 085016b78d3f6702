"""Each line of clm.env that systemd would drop, or read differently from what was meant, is named."""

from pathlib import Path

import pytest

from clm.engine.env_lost import lost_lines
from clm.settings import NAMES
from tests.cli.test_verbs import clm

SETTINGS = frozenset(NAMES.values())
LOST: dict[str, tuple[bytes, str]] = {
    "export": (b"export CLM_SEED=4\n", "line 1 begins with export"),
    "declare": (b"declare CLM_SEED=4\n", "line 1 has the name 'declare CLM_SEED'"),
    "dash": (b"CLM-SEED=4\n", "line 1 has the name 'CLM-SEED'"),
    "quoted name": (b"'CLM_SEED'=4\n", "line 1 has the name"),
    "byte order mark": (b"\xef\xbb\xbfCLM_SEED=4\n", "line 1 begins with a byte order mark"),
    "byte order mark before a comment": (b"\xef\xbb\xbf# x\nCLM_SEED=4\n", "line 1 begins with a byte order"),
    "colon": (b"\nCLM_SEED: 4\n", "line 2 has no equals sign"),
    "blank": (b"CLM_SEED 4\n", "line 1 has no equals sign"),
    "open quote": (b'CLM_STORE="/x\nCLM_SEED=4\n', "line 1 opens a quote that is never closed"),
    "comment with a backslash": (b"# C:\\\nCLM_SEED=4\n", "line 1 is a comment that ends in a backslash"),
    "comment after a value": (
        b"CLM_STORE=/x.db # mine\n",
        "line 1 has a comment after the value",
    ),
    "lower case": (b"clm_seed=4\n", "line 1 sets clm_seed, which is not a setting; write CLM_SEED"),
    "letters in the wrong order": (b"CML_SEED=4\n", "line 1 sets CML_SEED"),
}
KEPT = {
    "blanks": b"  CLM_SEED = 4\n\n;c\n#c\n",
    "carriage returns": b"CLM_SEED=4\r\nCLM_STORE=/x\r\n",
    "quotes": b"CLM_STORE=\"/x # y\"\nCLM_FEATURES='a,b'\n",
    "a value over two lines": b"CLM_FEATURES=a,\\\nb\nCLM_SEED=4\n",
    "names of others": b"TZ=UTC\nLD_LIBRARY_PATH=/x\n",
    "no newline at the end": b"CLM_SEED=4",
    "nothing": b"",
}


@pytest.mark.parametrize("case", LOST)
def test_a_line_that_would_be_lost_is_named(case: str) -> None:
    """A lost CLM_PROMOTION_MODE=manual means auto."""
    data, words = LOST[case]
    (found,) = [one for one in lost_lines(data, SETTINGS) if one.startswith(words)]
    assert ";" in found or "systemd" in found


@pytest.mark.parametrize("case", KEPT)
def test_a_line_that_systemd_reads_as_written_is_not_named(case: str) -> None:
    """A check that cries wolf is turned off."""
    assert lost_lines(KEPT[case], SETTINGS) == ()


@pytest.mark.parametrize(
    ("command", "case"),
    [("check-config", "export"), ("check-config", "open quote"), ("doctor", "export"), ("serve", "export")],
)
def test_the_command_line_and_the_daemon_refuse_such_a_file(tmp_path: Path, command: str, case: str) -> None:
    """Exit 78, in one line with the path; nothing is started."""
    config = tmp_path / "etc/quantum/clm.env"
    config.parent.mkdir(parents=True)
    config.write_bytes(LOST[case][0])
    refused = clm(tmp_path, command)
    assert refused.returncode == 78
    (line,) = refused.stderr.splitlines()
    assert f"{config} {LOST[case][1]}" in line


def test_old_names_are_logged_once_and_listed(tmp_path: Path) -> None:
    """The daemon goes on; the operator sees the new names."""
    config = tmp_path / "etc/quantum/clm.env"
    config.parent.mkdir(parents=True)
    config.write_text("CLM_PATIENCE=4\nCLM_RETRAIN_INTERVAL_H=6\n")
    done = clm(tmp_path, "check-config")
    assert done.returncode == 0
    assert done.stderr.count("settings.renamed") == 1
    assert "CLM_TRAINING__PATIENCE" in done.stderr
    assert "\nCLM_TRAINING__PATIENCE=4\n" in done.stdout
    assert "\nCLM_SCHEDULE=6h\n" in done.stdout
    assert "# CLM_PATIENCE is a name of 0.1: CLM_TRAINING__PATIENCE" in done.stdout
