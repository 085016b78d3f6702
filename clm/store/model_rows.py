"""Rows of clm_models within a transaction of the caller, and their mirror in ai_model_versions."""

from datetime import datetime
from typing import Any

from sqlalchemy import Row, insert, select, update
from sqlalchemy.dialects.sqlite import insert as upsert
from sqlalchemy.engine import Connection

from clm.artefacts.manifest import Artefact
from clm.clock import iso
from clm.store.json_text import to_text
from clm.store.neighbours import (
    ai_model_versions,
    mirror_activation,
    mirror_new_named,
    neighbour_text,
    obstacle,
)
from clm.store.tables import models


def model_is_known(connection: Connection, version: str) -> bool:
    """Return whether the version is recorded."""
    return connection.execute(select(models.c.version).where(models.c.version == version)).first() is not None


def add_model(
    connection: Connection,
    artefact: Artefact,
    *,
    training_samples: int,
    seconds: float,
    validation_accuracy: float | None,
    now: datetime,
) -> None:
    """Insert a trained model as inactive."""
    manifest = artefact.manifest
    connection.execute(
        insert(models).values(
            version=manifest.version,
            sha256=manifest.sha256,
            file_path=str(artefact.model_path),
            architecture=manifest.architecture,
            run_id=manifest.lineage.run_id,
            trained_at=iso(now),
            training_samples=training_samples,
            training_duration_seconds=seconds,
            validation_accuracy=validation_accuracy,
            is_active=0,
        )
    )
    row = connection.execute(select(models).where(models.c.version == manifest.version)).one()
    _mirror(connection, row)


def activate_model(
    connection: Connection, *, version: str, path: str, sha256: str, run_id: str, now: datetime
) -> None:
    """Make a model, at `path`, the only active one.

    A model without a row gets one: the engine runs it, and the store must record that.
    """
    # Deactivate the old one first, so that two are never active.
    connection.execute(
        update(models)
        .where(models.c.is_active == 1, models.c.version != version)
        .values(is_active=0, replaced_at=iso(now))
    )
    active = {"is_active": 1, "replaced_at": None, "file_path": path}
    known = {"version": version, "sha256": sha256, "run_id": run_id}
    row = connection.execute(
        upsert(models)
        .values(**known, **active)
        .on_conflict_do_update(index_elements=[models.c.version], set_=active)
        .returning(models)
    ).one()
    neighbour_id = row.neighbour_id
    # If a neighbour requires values that were never recorded, write no row instead of inventing them.
    if neighbour_id is None and row.training_samples is not None:
        neighbour_id = _mirror(connection, row)
    mirror_activation(connection, neighbour_id, path, now)


def adopt_model(
    connection: Connection, *, version: str, path: str, sha256: str, run_id: str, now: datetime
) -> None:
    """Make a model of unknown origin the only active one, in our own table only."""
    connection.execute(
        update(models).where(models.c.is_active == 1).values(is_active=0, replaced_at=iso(now))
    )
    known = {"sha256": sha256, "is_active": 1, "replaced_at": None, "file_path": path}
    connection.execute(
        upsert(models)
        .values(version=version, run_id=run_id, **known)
        .on_conflict_do_update(index_elements=[models.c.version], set_=known)
    )


def wrongly_active(connection: Connection, version: str) -> list[str]:
    """Return a sentence for each table in which this is not the only active model.

    The neighbours' table is checked only if it mirrors our row: it may know an unknown model better.
    """
    mine = connection.execute(select(models).where(models.c.version == version)).first()
    active = set(connection.execute(select(models.c.version).where(models.c.is_active == 1)).scalars())
    differences = []
    if active != {version}:
        differences.append(f"{models.name}: active is {', '.join(sorted(active)) or 'none'}, not {version}")
    if mine is not None and mine.neighbour_id is not None and not obstacle(connection, ai_model_versions):
        c = ai_model_versions.c
        rows = connection.execute(select(c.id, c.version_id).where(c.is_active == 1)).all()
        if {row.id for row in rows} != {mine.neighbour_id}:
            named = ", ".join(str(row.version_id) for row in rows) or "none"
            differences.append(f"{ai_model_versions.name}: active is {named}, not {version}")
    return differences


def _mirror(connection: Connection, row: Row[Any]) -> int | None:
    """Insert the model into ai_model_versions and record its id there."""
    neighbour_id = mirror_new_named(
        connection,
        ai_model_versions,
        "version_id",
        {
            "version_id": row.version,
            "model_type": row.architecture,
            "file_path": row.file_path,
            "trained_at": neighbour_text(datetime.fromisoformat(row.trained_at)),
            "training_samples": row.training_samples,
            "training_duration_seconds": row.training_duration_seconds,
            "validation_accuracy": row.validation_accuracy,
            "is_active": 0,
            "notes": to_text({"run_id": row.run_id, "sha256": row.sha256}),
        },
    )
    connection.execute(
        update(models).where(models.c.version == row.version).values(neighbour_id=neighbour_id)
    )
    return neighbour_id
