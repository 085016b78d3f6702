"""Files that are not what they were, or were never ours: refused before a byte of them is unpickled."""

import ast
import contextlib
import hashlib
import io
import random
from pathlib import Path

import pytest
import torch

from clm.artefacts.manifest import Artefact
from clm.domain.job import ChampionRef
from clm.errors import ArtefactError
from clm.models.catalogue import architecture
from clm.models.existing_engine import load_as_engine
from clm.models.served_file import load_served
from clm.serving.predictor import Predictor
from clm.training.champion import score_champion
from tests.serving.served import registered, weights
from tests.training import jobs

PROJECT = Path(__file__).parents[2]
FLIPS = 300
TORCH_ASKED = 10
"""Every so many flips: reading 300 files takes a while."""


@pytest.fixture
def artefact(tmp_path: Path) -> Artefact:
    return registered(tmp_path, jobs.dataset(n_windows=60))


def test_f3_every_flipped_bit_of_a_model_is_refused_and_torch_alone_lets_some_in(artefact: Artefact) -> None:
    """300 of 300 by the hash. Torch checks no sum: it let 300 of these 300 in, other weights and all."""
    content, chance = artefact.model_path.read_bytes(), random.Random(300)
    network, let_in = architecture("engine").build(0.0), 0
    for number in range(FLIPS):
        bit = chance.randrange(len(content) * 8)
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        artefact.model_path.write_bytes(flipped)
        with pytest.raises(ArtefactError, match="ARTEFACT_TORN"):
            Predictor.load(artefact.model_path)
        if number % TORCH_ASKED == 0:
            with contextlib.suppress(Exception):  # whatever torch says to a torn file
                document = torch.load(io.BytesIO(flipped), weights_only=True)
                network.load_state_dict(document["model_state_dict"])
                let_in += 1
    assert let_in > FLIPS / TORCH_ASKED / 2, f"torch let {let_in} in"


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_f2_a_truncated_file_is_refused_and_both_sizes_are_told(artefact: Artefact, share: float) -> None:
    """A copy that ended early."""
    content = artefact.model_path.read_bytes()
    cut = int(share * len(content))
    artefact.model_path.write_bytes(content[:cut])
    with pytest.raises(ArtefactError, match=f"has {cut} bytes and .* says {len(content)} and"):
        Predictor.load(artefact.model_path)


class Evil:
    """Runs when it is unpickled; the file it leaves shows it."""

    def __init__(self, trap: Path) -> None:
        self.trap = trap

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.trap,)


def evil(trap: Path) -> bytes:
    """A checkpoint that has all the right tensors, and something to run."""
    buffer = io.BytesIO()
    state = torch.load(io.BytesIO(weights()), weights_only=True)["model_state_dict"]
    torch.save({"model_state_dict": state, "epoch": Evil(trap)}, buffer)
    return buffer.getvalue()


def test_l2_the_trap_springs_where_pickles_are_trusted(tmp_path: Path) -> None:
    """Without this the tests below would show nothing."""
    torch.load(io.BytesIO(evil(tmp_path / "sprung")), weights_only=False)
    assert (tmp_path / "sprung").exists()


def test_l2_a_pickle_that_runs_something_is_never_run_even_where_its_hash_is_known(tmp_path: Path) -> None:
    """Somebody who can write both file and manifest still gets nothing run."""
    trap, dataset = tmp_path / "sprung", jobs.dataset(n_windows=60)
    data = evil(trap)
    with pytest.raises(ArtefactError, match="MODEL_UNREADABLE"):
        Predictor.load(registered(tmp_path, dataset, data=data).model_path)
    for load in (load_as_engine, lambda data: load_served(architecture("engine").build(0.0), data)):
        with pytest.raises(ArtefactError, match="MODEL_UNREADABLE"):
            load(data)
    foreign = tmp_path / "champion.pth"
    foreign.write_bytes(data)
    scores = score_champion(
        ChampionRef(version="x", path=foreign, sha256=hashlib.sha256(data).hexdigest(), adopted=True),
        dataset.feature_names,
        jobs.arrays(dataset, tmp_path / "job"),
        context_length=128,
    )
    assert "cannot be loaded" in scores.absent_because
    assert not trap.exists()


def test_l3_a_file_that_nobody_registered_is_not_served(tmp_path: Path, artefact: Artefact) -> None:
    """However good its weights and its name are."""
    foreign = tmp_path / "models" / "patchtst_v20990101_000000.pth"
    foreign.parent.mkdir()
    foreign.write_bytes(weights())
    with pytest.raises(ArtefactError, match="ARTEFACT_MISSING: patchtst_v20990101_000000 is not registered"):
        Predictor.load(foreign, artefacts=tmp_path / "artefacts")
    with pytest.raises(ArtefactError, match="ARTEFACT_MISSING"):
        Predictor.load(tmp_path / "models" / ".." / "evil.pth", artefacts=tmp_path / "artefacts")


def test_l2_nothing_of_ours_trusts_a_pickle() -> None:
    """No reading by pickle, torch.load with weights_only=True, numpy.load with allow_pickle=False."""
    seen: dict[str, int] = {"torch.load": 0, "np.load": 0}
    for path in [*(PROJECT / "clm").rglob("*.py"), *(PROJECT / "examples").glob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            called = ast.unparse(node.func)
            keywords = {word.arg: ast.unparse(word.value) for word in node.keywords}
            assert not called.startswith(("pickle.", "cPickle.", "dill.", "joblib.", "pd.read_pickle")), path
            if called == "torch.load":
                assert keywords.get("weights_only") == "True", path
                seen[called] += 1
            if called in ("np.load", "numpy.load"):
                assert keywords.get("allow_pickle") == "False", path
                seen["np.load"] += 1
    assert seen["torch.load"] >= 1
    assert seen["np.load"] >= 1
