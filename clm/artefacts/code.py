"""The hash of the code that affects a training; results with another hash are not those of today's code."""

import hashlib
from pathlib import Path

import clm

_CODE = ("training", "models", "questions", "data", "evaluation")
"""Packages in which any line may affect the weights."""


def code_hash() -> str:
    """Return the sha256 of the sources that affect the weights; they can change within one version."""
    root = Path(clm.__file__).parent
    digest = hashlib.sha256(clm.__version__.encode())
    for path in sorted(path for package in _CODE for path in (root / package).rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()
