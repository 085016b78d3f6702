"""Files made of a good one by chance: each loads, or is refused by our own error."""

import io
import random
import resource
import struct
import zipfile

import numpy as np
import pytest
import torch

from clm.errors import ArtefactError
from clm.models.catalogue import architecture
from clm.models.served_file import load_served, read_state, what_it_asks_for
from tests.serving.served import weights

MUTANTS = 3000
OPCODES = (
    b"cposix\nsystem\n", b"R", b"(", b"t", b"}", b"u", b"0", b"2", b"N", b"K\xff",
    b"X\xff\xff\xff\x7f", b"]", b"b", b"\x81",
)  # fmt: skip


def _spliced(content: bytes, chance: random.Random) -> bytes:
    """Put opcodes of a pickle, or anything else, into the pickle of the archive."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(buffer, "w") as new:
        for entry in old.infolist():
            data = bytearray(old.read(entry))
            if entry.filename.endswith("data.pkl"):
                at = chance.randrange(len(data))
                added = chance.choice([*OPCODES, bytes([chance.randrange(256)])])
                data[at : at + chance.randrange(4)] = added
            new.writestr(entry.filename, bytes(data))
    return buffer.getvalue()


def _mutant(content: bytes, number: int) -> bytes:
    chance = random.Random(number)
    kind = number % 5
    if kind == 0:
        return content[: chance.randrange(len(content))]
    if kind == 1:
        return _spliced(content, chance)
    data = bytearray(content)
    # The ends hold the pickle and the archive's directory; the weights in between are just numbers.
    for _ in range(chance.randrange(1, 6)):
        reach = min(6000, len(data))
        at = chance.randrange(reach) if chance.random() < 0.5 else len(data) - 1 - chance.randrange(reach)
        if kind == 2:
            data[at] ^= 1 << chance.randrange(8)
        elif kind == 3:
            data[at] = chance.randrange(256)
        else:
            data[at : at + 4] = struct.pack("<I", chance.choice([0, 1, 2**31 - 1, 2**32 - 1]))
    return bytes(data)


def test_every_mutant_loads_or_is_refused_by_our_own_error() -> None:
    """117 of 3,000 used to raise something else, which ended the process that read them."""
    content, network = weights(), architecture("engine").build(0.0)
    refusals: list[ArtefactError] = []
    for number in range(MUTANTS):
        try:
            load_served(network, _mutant(content, number))
        except ArtefactError as error:
            refusals.append(error)
    assert len(refusals) > MUTANTS / 2
    assert {error.code for error in refusals} == {"MODEL_UNREADABLE"}


def test_a_file_that_unpacks_to_more_than_it_holds_is_refused_before_torch_reads_it() -> None:
    """A gigabyte of zeros is a megabyte in an archive."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\0" * 300_000_000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ArtefactError, match=r"declares more than its .* is compressed"):
        read_state(buffer.getvalue())
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000


@pytest.mark.parametrize("content", [b"", b"PK", b"\x80\x02.", b"not a model", b"PK\x03\x04" + b"\0" * 50])
def test_what_is_no_archive_is_refused(content: bytes) -> None:
    """Other forms of pickles are not read at all."""
    with pytest.raises(ArtefactError, match="MODEL_UNREADABLE"):
        read_state(content)


class Evil:
    """Runs when it is unpickled."""

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return np.fromfile, ("/etc/hostname",)


def test_the_refusal_names_what_the_file_asks_for() -> None:
    """ "Weights only load failed" says nothing, and torch's advice is to trust the file."""
    buffer = io.BytesIO()
    torch.save({"model_state_dict": {}, "epoch": Evil()}, buffer)

    assert "numpy" in what_it_asks_for(buffer.getvalue())
    with pytest.raises(ArtefactError, match=r"asks for '?numpy.*fromfile.*nothing of it was run"):
        read_state(buffer.getvalue())
    assert what_it_asks_for(weights()) == ""
