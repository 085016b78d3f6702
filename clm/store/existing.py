"""The schema of the existing system's eleven tables, for a new store.

The columns of the seven tables that we neither read nor write are plausible guesses.
"""

SAMPLE_COLUMNS = {
    "id": "INTEGER PRIMARY KEY AUTOINCREMENT",
    "symbol": "VARCHAR NOT NULL",
    "timestamp": "DATETIME NOT NULL",
    "run_id": "INTEGER REFERENCES liquidity_runs (id)",
    "predicted_action": "VARCHAR NOT NULL",
    "prediction_score": "FLOAT NOT NULL",
    "prediction_confidence": "FLOAT NOT NULL",
    "model_version": "VARCHAR",
    "features": "TEXT NOT NULL",
    "feature_names": "TEXT",
    "executed": "BOOLEAN",
    "execution_side": "VARCHAR",
    "entry_price": "FLOAT",
    "entry_quantity": "FLOAT",
    "entry_time": "DATETIME",
    "outcome_known": "BOOLEAN",
    "exit_price": "FLOAT",
    "exit_time": "DATETIME",
    "realized_pnl": "FLOAT",
    "hold_duration_seconds": "INTEGER",
    "target_label": "FLOAT",
    "target_class": "VARCHAR",
    "created_at": "DATETIME",
    "updated_at": "DATETIME",
}

_ID = {"id": "INTEGER PRIMARY KEY"}

EXISTING: dict[str, dict[str, str]] = {
    "liquidity_runs": _ID | {"started_at": "DATETIME", "universe_size": "INTEGER", "status": "VARCHAR"},
    "liquidity_snapshots": _ID
    | {"run_id": "INTEGER REFERENCES liquidity_runs (id)", "symbol": "VARCHAR", "quote_volume": "FLOAT"},
    "portfolio_allocations": _ID
    | {"run_id": "INTEGER REFERENCES liquidity_runs (id)", "symbol": "VARCHAR", "weight": "FLOAT"},
    "portfolio_positions": _ID | {"symbol": "VARCHAR", "quantity": "FLOAT", "updated_at": "DATETIME"},
    "execution_journal": _ID
    | {
        "symbol": "VARCHAR",
        "side": "VARCHAR",
        "quantity": "FLOAT",
        "status": "VARCHAR",
        "created_at": "DATETIME",
    },
    "trade_logs": _ID
    | {"timestamp": "DATETIME", "symbol": "VARCHAR", "side": "VARCHAR", "qty": "FLOAT", "price": "FLOAT"},
    "settings": _ID | {"api_key": "VARCHAR", "api_secret": "VARCHAR"},
    "ai_training_samples": SAMPLE_COLUMNS,
    "ai_model_versions": {
        "id": "INTEGER PRIMARY KEY AUTOINCREMENT",
        "version_id": "VARCHAR NOT NULL UNIQUE",
        "model_type": "VARCHAR NOT NULL",
        "file_path": "VARCHAR NOT NULL",
        "trained_at": "DATETIME NOT NULL",
        "training_samples": "INTEGER NOT NULL",
        "training_duration_seconds": "FLOAT",
        "train_accuracy": "FLOAT",
        "validation_accuracy": "FLOAT",
        "train_mae": "FLOAT",
        "validation_mae": "FLOAT",
        "total_predictions": "INTEGER",
        "correct_predictions": "INTEGER",
        "live_accuracy": "FLOAT",
        "total_pnl": "FLOAT",
        "is_active": "BOOLEAN",
        "replaced_at": "DATETIME",
        "notes": "TEXT",
    },
    "model_training_runs": _ID
    | {
        "version": "VARCHAR NOT NULL UNIQUE",
        "status": "VARCHAR NOT NULL",
        "started_at": "DATETIME NOT NULL",
        "completed_at": "DATETIME",
        "dataset_path": "VARCHAR",
        "symbol_count": "INTEGER",
        "sample_count": "INTEGER",
        "feature_count": "INTEGER",
        "model_path": "VARCHAR",
        "scaler_path": "VARCHAR",
        "metrics": "TEXT",
        "notes": "TEXT",
    },
    "training_tasks": _ID
    | {
        "symbols": "VARCHAR NOT NULL",
        "limit": "INTEGER NOT NULL",
        "status": "VARCHAR NOT NULL DEFAULT 'pending'",
        "created_at": "DATETIME",
        "completed_at": "DATETIME",
        "details": "TEXT",
    },
}

INDEXES = {
    "ix_ai_training_samples_symbol": ("ai_training_samples", "symbol"),
    "ix_ai_training_samples_timestamp": ("ai_training_samples", "timestamp"),
}


def ddl() -> list[str]:
    """Return the statements that create the tables and indexes."""
    tables = [f"CREATE TABLE {table} ({_columns(forms)})" for table, forms in EXISTING.items()]
    indexes = [f"CREATE INDEX {name} ON {table} ({column})" for name, (table, column) in INDEXES.items()]
    return tables + indexes


def _columns(forms: dict[str, str]) -> str:
    # Quoted: `limit` is a reserved word.
    return ", ".join(f'"{name}" {form}' for name, form in forms.items())
