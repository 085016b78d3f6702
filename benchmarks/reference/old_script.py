"""A retrain as a script does it that a person starts by hand: what `clm run` is held against.

    python benchmarks/reference/old_script.py STORE MODEL_FILE [--learning-rate RATE] [--all-epochs]

No line of it is slow on purpose, and none is taken from this project but the network. The choices:

rows          pandas.read_sql of the labelled rows in the order of time, iterrows, json.loads a row
windows       a list of rows a symbol, one array of 128 rows a window, all stacked into one array
split         by time, 70 % / 15 % / 15 %, as `clm run` does by default; nothing is purged
scaling       StandardScaler fitted on the steps of the training windows
threads       torch's default, all cores
network       the engine's: TransformerEncoder of three layers, 612,481 parameters, dropout 0.1
loop          DataLoader(TensorDataset), batches of 32, shuffled; Adam; BCEWithLogitsLoss; loss.item() a step
learning rate 1e-4, which the PatchTST paper and its code use; 5e-4 is ours
epochs        30 at most, ended after 5 without a better validation loss; the best weights are kept
verdict       accuracy, AUROC, log loss, Brier score, F1 of the test part by scikit-learn, and two bars
file          torch.save of the state dict

It judges less than `clm run`: no audit, no baseline, no champion, no interval, no proof of the file.
"""

import argparse
import copy
import json
import sqlite3
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import numpy as np
import pandas as pd
import torch
from sklearn.metrics import accuracy_score, brier_score_loss, f1_score, log_loss, roc_auc_score
from sklearn.preprocessing import StandardScaler
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from clm.models.existing_engine import ExistingEngineNetwork

LENGTH = 128
EPOCHS, PATIENCE, BATCH = 30, 5, 32


def load(store: str) -> tuple[np.ndarray, np.ndarray]:
    """Return windows (N, 128, 8) and labels, ordered by time."""
    connection = sqlite3.connect(store)
    frame = pd.read_sql(
        "SELECT symbol, timestamp, features, target_class FROM ai_training_samples "
        "WHERE outcome_known = 1 ORDER BY timestamp",
        connection,
    )
    connection.close()
    steps: dict[str, list[list[float]]] = {}
    windows, labels = [], []
    for _, row in frame.iterrows():
        of_symbol = steps.setdefault(row["symbol"], [])
        of_symbol.append(json.loads(row["features"]))
        if len(of_symbol) >= LENGTH:
            windows.append(np.array(of_symbol[-LENGTH:], dtype=np.float32))
            labels.append(1.0 if row["target_class"] == "WIN" else 0.0)
    return np.stack(windows), np.array(labels, dtype=np.float32)


def main() -> int:
    """Read, train, judge, save."""
    parser = argparse.ArgumentParser(description="A retrain as a script does it.")
    parser.add_argument("store")
    parser.add_argument("model_file")
    parser.add_argument("--learning-rate", type=float, default=1e-4)
    parser.add_argument("--all-epochs", action="store_true", help="stop for nothing")
    asked = parser.parse_args()

    torch.manual_seed(42)
    windows, labels = load(asked.store)
    first, second = int(0.70 * len(windows)), int(0.85 * len(windows))
    n_features = windows.shape[2]
    scaler = StandardScaler().fit(windows[:first].reshape(-1, n_features))
    scaled = scaler.transform(windows.reshape(-1, n_features)).reshape(windows.shape).astype(np.float32)
    x, y = torch.from_numpy(scaled), torch.from_numpy(labels)
    train_loader = DataLoader(TensorDataset(x[:first], y[:first]), batch_size=BATCH, shuffle=True)
    validation_loader = DataLoader(TensorDataset(x[first:second], y[first:second]), batch_size=BATCH)

    model = ExistingEngineNetwork()
    criterion = nn.BCEWithLogitsLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=asked.learning_rate)
    best, best_state, waited, epoch = float("inf"), model.state_dict(), 0, 0
    for epoch in range(1, EPOCHS + 1):
        model.train()
        total = 0.0
        for x_batch, y_batch in train_loader:
            optimizer.zero_grad()
            loss = criterion(model(x_batch).squeeze(-1), y_batch)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(x_batch)
        model.eval()
        validation = 0.0
        with torch.no_grad():
            for x_batch, y_batch in validation_loader:
                validation += criterion(model(x_batch).squeeze(-1), y_batch).item() * len(x_batch)
        validation /= second - first
        print(f"epoch {epoch}/{EPOCHS} train {total / first:.4f} validation {validation:.4f}")
        if validation < best:
            best, best_state, waited = validation, copy.deepcopy(model.state_dict()), 0
        else:
            waited += 1
            if waited >= PATIENCE and not asked.all_epochs:
                break

    model.load_state_dict(best_state)
    model.eval()
    with torch.no_grad():
        p_win = torch.sigmoid(model(x[second:]).squeeze(-1)).numpy()
    label = labels[second:]
    said = (p_win >= 0.5).astype(int)
    figures = {
        "accuracy": accuracy_score(label, said),
        "auroc": roc_auc_score(label, p_win),
        "log_loss": log_loss(label, p_win),
        "brier": brier_score_loss(label, p_win),
        "f1": f1_score(label, said),
        "std": float(p_win.std()),
    }
    passed = figures["auroc"] >= 0.53 and figures["std"] >= 0.02
    torch.save({"model_state_dict": model.state_dict()}, asked.model_file)
    report: dict[str, object] = {name: float(value) for name, value in figures.items()}
    report |= {"verdict": "PASS" if passed else "FAIL", "windows": len(windows), "epochs": epoch}
    print(json.dumps(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
