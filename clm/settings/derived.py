"""Values derived from the settings: paths in the state directory, and the policy of each part."""

from dataclasses import fields
from pathlib import Path

from clm.data.splits import SplitPolicy
from clm.domain.job import TrainingSpec
from clm.domain.line import DEFAULT_LINE, Line
from clm.evaluation.evaluation import EvaluationPolicy
from clm.gates.policy import GatePolicy
from clm.settings.fields import Fields
from clm.settings.schedule import parse_schedule


class Settings(Fields):
    """All settings of quantum-clm, and the values derived from them."""

    @property
    def line(self) -> Line:
        """The model line that this daemon serves."""
        return DEFAULT_LINE

    @property
    def runs_dir(self) -> Path:
        """One directory per run."""
        return self.state_dir / "runs"

    @property
    def artefacts_dir(self) -> Path:
        """One directory per model, including rejected models."""
        return self.state_dir / "artefacts"

    @property
    def sample_cache_dir(self) -> Path:
        """Cache of samples as columns; may be removed at any time."""
        return self.state_dir / "samples"

    @property
    def tuning_file(self) -> Path:
        """Optuna's studies; may be removed while no trials run."""
        return self.state_dir / "tuning.db"

    @property
    def checkpoints_dir(self) -> Path:
        """Checkpoints of interrupted trainings; may be removed while no training runs."""
        return self.state_dir / "checkpoints"

    @property
    def walk_forward_dir(self) -> Path:
        """Results of `clm walkforward`, one for each cut; may be removed while it does not run."""
        return self.state_dir / "walkforward"

    @property
    def lock_file(self) -> Path:
        """Lock of the one instance that uses this state directory."""
        return self.state_dir / "lock"

    @property
    def freeze_file(self) -> Path:
        """The last known freeze; may be removed only if Redis will not return."""
        return self.state_dir / "freeze.json"

    @property
    def promotion_min_free_mb(self) -> int:
        """Free megabytes below which no model is promoted."""
        # A promotion copies one file, so it needs less space than a run with its checkpoints.
        return self.train_min_free_mb // 5 if self.min_free_mb is None else self.min_free_mb

    @property
    def training_min_free_share(self) -> float:
        """Free share of a disk below which no model is trained; default: half of 1 - disk mark."""
        share = self.train_min_free_share
        return round((1 - self.disk_mark) / 2, 6) if share is None else share

    @property
    def interval_h(self) -> float:
        """Hours between scheduled retrains; 0 for none."""
        return parse_schedule(self.schedule)[0]

    @property
    def cron(self) -> str:
        """Cron expression of scheduled retrains; empty for none."""
        return parse_schedule(self.schedule)[1]

    def training_spec(self) -> TrainingSpec:
        """Return the hyperparameters."""
        return TrainingSpec(
            architecture=self.architecture,
            epochs=self.epochs,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            dropout=self.dropout,
            label_smoothing=self.label_smoothing,
            class_weights=self.class_weights,
            patience=self.patience,
            seed=self.seed,
            threads=self.train_threads,
            scaling=self.scaling,
            spread_weight=self.spread_weight,
            start=self.start,
            ensemble=self.ensemble,
            swa_from=self.swa_from,
            device=self.device,
            processes=self.train_processes,
            precision=self.precision,
        )

    def evaluation_policy(self) -> EvaluationPolicy:
        """Return the policy for measuring figures."""
        return EvaluationPolicy(
            bootstrap_replicates=self.bootstrap_replicates,
            confidence=self.bootstrap_confidence,
            block_h=self.block_h,
            seed=self.seed,
            fee_bps=self.fee_bps,
            slippage_bps=self.slippage_bps,
        )

    def gate_policy(self) -> GatePolicy:
        """Return the thresholds of the gates; each has the name of its setting."""
        return GatePolicy(**{bar.name: getattr(self, bar.name) for bar in fields(GatePolicy)})

    def split_policy(self) -> SplitPolicy:
        """Return the policy for splitting windows by time."""
        return SplitPolicy(
            train_share=self.train_share,
            validation_share=self.validation_share,
            embargo_h=self.embargo_h,
            folds=self.folds,
        )
