"""Small data sets and jobs with a signal in them, on the scales that real features have."""

from datetime import timedelta
from pathlib import Path

import numpy as np

from clm.clock import HOUR, to_micros
from clm.data.dataset import Dataset, build_dataset
from clm.domain.job import ChampionRef, TrainingJob, TrainingSpec
from clm.domain.sample import SampleTable
from clm.questions.question import write_question
from clm.questions.train import TrainingArrays, read_training, train_question
from tests.builders import NOW, data_policy, training_spec

FEATURES = ("rsi", "returns_1h", "volatility", "price", "macd", "momentum", "volume_ratio", "bb_position")
CENTRE_C = np.array([50.0, 0.0, 0.007, 600.0, -0.001, 0.02, 1.0, 0.0])
SPREAD_C = np.array([12.0, 0.001, 0.003, 40.0, 0.009, 0.04, 0.8, 0.6])


def table(
    *, n_windows: int = 300, n_features: int = 8, seed: int = 0, constant: int | None = None
) -> SampleTable:
    """Two symbols whose wins follow the first feature's last value; feature number `constant` stays put."""
    random = np.random.default_rng(seed)
    n_each = 127 + n_windows // 2
    noise_RC = random.normal(size=(2 * n_each, 8))
    win_R = noise_RC[:, 0] + 0.7 * random.normal(size=2 * n_each) > 0
    features_RC = (CENTRE_C + SPREAD_C * noise_RC)[:, :n_features]
    if constant is not None:
        features_RC[:, constant] = CENTRE_C[constant]
    first = to_micros(NOW - timedelta(hours=n_each + 10))
    decided_at_R = np.tile(first + HOUR * np.arange(n_each), 2)
    return SampleTable(
        sample_id_R=np.arange(1, 2 * n_each + 1),
        symbol_R=np.repeat([0, 1], n_each),
        symbols=("BTCUSDT", "ETHUSDT"),
        decided_at_R=decided_at_R,
        resolved_at_R=decided_at_R + HOUR,
        side_R=np.ones(2 * n_each, dtype=np.int8),
        outcome_R=np.where(win_R, 1, -1).astype(np.int8),
        pnl_R=np.where(win_R, 0.75, -0.5),
        market_return_R=np.where(win_R, 0.0075, -0.005),
        entry_price_R=np.full(2 * n_each, np.nan),
        features_RC=features_RC,
        feature_names=FEATURES[:n_features],
        rows_read=2 * n_each,
    )


def dataset(**what: int) -> Dataset:
    """The table cut into windows and parts by the project's own code."""
    return build_dataset(table(**what), data_policy())


def job(
    directory: Path,
    *,
    of: Dataset,
    champion: ChampionRef | None = None,
    timeout_s: float = 120.0,
    spec: TrainingSpec | None = None,
) -> TrainingJob:
    """A job in a directory that does not exist yet."""
    return TrainingJob(
        run_id="p07_20260102_030405_0badcafe",
        directory=directory,
        spec=spec or training_spec(batch_size=32, epochs=2),
        context_length=of.context_length,
        feature_names=of.table.feature_names,
        champion=champion,
        timeout_s=timeout_s,
    )


def write_job(of: TrainingJob, dataset: Dataset) -> None:
    """Write the question of a training, as the parent does."""
    write_question(train_question(of, dataset), of.directory)


def read_job(directory: Path) -> tuple[TrainingJob, TrainingArrays]:
    """Read the question of a training, as the child does."""
    inputs = read_training(directory)
    return inputs.job, inputs.arrays


def arrays(of: Dataset, directory: Path) -> TrainingArrays:
    """What the child reads of a data set."""
    write_job(job(directory, of=of), of)
    return read_job(directory)[1]
