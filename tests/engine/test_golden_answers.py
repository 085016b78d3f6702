"""The engine's own answers prove what it serves, or that it serves nothing that depends on the input."""

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from clm.domain.load_check import GoldenRows
from clm.engine.golden_answers import GoldenCheck, judge_probe
from clm.engine.journal import JournalWitness
from clm.engine.systemctl import Finished
from tests.promotion.server import free_port

FILE_G = np.linspace(0.2, 0.8, 64)
GOLDEN = GoldenRows(window_GLC=np.repeat(FILE_G[:, None, None], 128, axis=1).astype(np.float32), p_G=FILE_G)
"""Windows of one feature whose value is the answer."""

Answer = Callable[[list[list[float]]], tuple[int, object]]


@contextmanager
def predicting(answer: Answer) -> Iterator[str]:
    """An engine that answers windows as the test says."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            window = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["window"]
            status, content = answer(window)
            body = content if isinstance(content, bytes) else json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_arguments: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=lambda: server.serve_forever(poll_interval=0.01), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/predict"
        server.shutdown()


def test_an_engine_that_answers_as_the_file_does_is_proven() -> None:
    """Each window arrives whole, with a zero for every channel that has no feature."""

    def answer(window: list[list[float]]) -> tuple[int, object]:
        assert (len(window), len(window[0])) == (128, 8)
        assert not any(any(step[1:]) for step in window)
        return 200, {"p_win": window[0][0] + 9e-5}

    with predicting(answer) as url:
        assert GoldenCheck(url)(GOLDEN).proven


def test_constant_answers_are_called_what_they_are_with_the_evidence() -> None:
    """The known fault of the existing engine: it repeats one price, so that any model answers one number."""
    with predicting(lambda _window: (200, {"p_win": 0.6150280237197876})) as url:
        reading = GoldenCheck(url)(GOLDEN)
    assert not reading.proven
    assert reading.final
    assert reading.detail.startswith("serving input constant: 64 different windows get one score, 0.615028")
    assert "0.200000 to 0.800000" in reading.detail


def test_one_answer_beyond_the_tolerance_is_no_proof() -> None:
    """Another file, scaling or feature order changes the score of some row."""
    engine_G = FILE_G.copy()
    engine_G[17] += 1.1e-4
    reading = judge_probe(engine_G, FILE_G)
    assert (reading.proven, reading.final) == (False, True)
    assert reading.detail.startswith("1 of 64 golden rows have another score: row 17")
    assert judge_probe(FILE_G + 9e-5, FILE_G).proven


@pytest.mark.parametrize(
    ("status", "content"),
    [
        (503, {"error": "no model is loaded"}),
        (200, {"probability": 0.5}),
        (200, {"p_win": "0.5"}),
        (200, {"p_win": True}),
        (200, b'{"p_win": NaN}'),
        (200, b'{"p_win": ' + b"9" * 400 + b"}"),
        (200, b'{"p_win": -' + b"9" * 5000 + b"}"),
        (200, b'{"p_win": "\\ud800"}'),
        (200, b'{"p_win": "\xff\xfe"}'),
        (200, b"[" * 5000),
        (200, b"<html>"),
        (200, []),
    ],
)
def test_what_is_no_answer_may_become_one(status: int, content: object) -> None:
    """It is waited for until the time is up; it is never a proof."""
    with predicting(lambda _window: (status, content)) as url:
        reading = GoldenCheck(url)(GOLDEN)
    assert (reading.proven, reading.final) == (False, False)
    assert f"HTTP {status}" in reading.detail


def test_nobody_there_may_come_yet() -> None:
    """An engine opens its port last."""
    reading = GoldenCheck(f"http://127.0.0.1:{free_port()}/predict")(GOLDEN)
    assert (reading.proven, reading.final) == (False, False)


def journal(answer: Finished, asked: list[list[str]] | None = None) -> JournalWitness:
    def run(command: object, _timeout_s: float) -> Finished:
        if asked is not None:
            asked.append(list(command))  # type: ignore[call-overload]
        return answer

    return JournalWitness("PatchTST loaded: {file}", run=run)


def test_h5_the_journal_of_this_start_must_name_the_file() -> None:
    """The line of an earlier start proves nothing, so one invocation is asked for."""
    asked: list[list[str]] = []
    lines = "engine listens\nPatchTST loaded: new.pth\n"
    witness = journal(Finished(returncode=0, stdout=lines, stderr=""), asked)
    assert witness.missing("abc", "new.pth") == ""
    assert asked[0][-1] == "_SYSTEMD_INVOCATION_ID=abc"
    assert "no line with 'PatchTST loaded: old.pth'" in witness.missing("abc", "old.pth")
    assert "names no invocation" in witness.missing("", "new.pth")


def test_h5_l14_a_line_of_any_bytes_neither_hides_the_right_one_nor_raises(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A journal holds what any program wrote into it; this journalctl prints it through a real pipe."""
    program(tmp_path / "journalctl", b"\xff\xfe \xed\xa0\x80 \x00\nPatchTST loaded: new.pth\n\xff", b"\xc3(")
    monkeypatch.setenv("PATH", str(tmp_path))
    witness = JournalWitness("PatchTST loaded: {file}")
    assert witness.missing("abc", "new.pth") == ""
    assert "no line with" in witness.missing("abc", "old.pth")
    program(tmp_path / "journalctl", b"", b"no \xff\xfe")
    assert "\ufffd" in witness.missing("abc", "new.pth")


def program(path: Path, stdout: bytes, stderr: bytes) -> None:
    """Put a program there that prints these bytes."""
    script = f"import os; os.write(1, {stdout!r}); os.write(2, {stderr!r})"
    path.write_text(f"#!{sys.executable}\n{script}\n")
    path.chmod(0o755)


def test_h5_a_journal_that_may_not_be_read_says_so() -> None:
    """An empty answer of a user without the right looks like an engine without a word."""
    assert "systemd-journal" in journal(Finished(returncode=0, stdout="", stderr="")).missing("a", "x")
    assert "No journal files" in journal(
        Finished(returncode=1, stdout="", stderr="No journal files were opened\n")
    ).missing("a", "x")

    def hang(_command: object, timeout_s: float) -> Finished:
        raise subprocess.TimeoutExpired("journalctl", timeout_s)

    assert "cannot be read" in JournalWitness("{file}", run=hang).missing("a", "x")
