"""Settings are read once, all problems are said at once, and the shipped file tells the truth."""

from pathlib import Path
from typing import get_args

import pytest

from clm.domain.architecture import KNOWN
from clm.errors import ConfigError
from clm.settings import Settings, example_env, load_settings, redis_password

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in [name for name in os.environ if name.startswith("CLM_")]:
        monkeypatch.delenv(name)


def test_the_shipped_clm_env_documents_every_setting_with_its_default():
    """The operator reads the file, the daemon the code: they must say the same."""
    assert (ROOT / "etc/quantum/clm.env").read_text() == example_env()


def test_every_setting_has_a_meaning():
    """A setting nobody can explain is not offered."""
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


def test_m3_all_problems_are_said_at_once_with_the_nearest_known_name(monkeypatch):
    """Fixing one typo a restart is not how anybody wants to spend an evening."""
    monkeypatch.setenv("CLM_EPOCH", "5")
    monkeypatch.setenv("CLM_DROPOUT", "lots")
    monkeypatch.setenv("CLM_BATCH_SIZE", "0")
    with pytest.raises(ConfigError) as raised:
        load_settings()
    text = str(raised.value)
    assert "CLM_EPOCH is no setting, did you mean CLM_EPOCHS?" in text
    assert "CLM_DROPOUT=lots" in text
    assert "CLM_BATCH_SIZE=0" in text
    assert "3 problems" in text
    assert raised.value.exit_code == 78


def test_m3_an_unknown_name_in_the_file_is_said_too():
    """systemd would hand it to the daemon, so the command line must see it as well."""
    with pytest.raises(ConfigError, match="CLM_STOER is no setting, did you mean CLM_STORE"):
        load_settings({"CLM_STOER": "/x.db"})


@pytest.mark.parametrize("value", ["nan", "inf", "-1", "", "yes"])
def test_m3_a_figure_that_is_none_is_refused(monkeypatch, value):
    """NaN passes every comparison that is written the wrong way round."""
    monkeypatch.setenv("CLM_MIN_CONFIDENCE_STD", value)
    with pytest.raises(ConfigError, match="CLM_MIN_CONFIDENCE_STD"):
        load_settings()


@pytest.mark.parametrize("name", [name for name in KNOWN if name != "engine"])
def test_an_architecture_that_the_engine_cannot_load_is_refused_in_a_line_that_says_what_to_set(name):
    """It would train for hours, pass, and leave the engine on random weights."""
    with pytest.raises(ConfigError) as raised:
        load_settings(None, {"architecture": name})
    assert raised.value.exit_code == 78
    assert f"CLM_ARCHITECTURE={name}" in str(raised.value)
    assert "CLM_ARCHITECTURE=engine, or CLM_ENGINE_LOADS=serving" in str(raised.value)
    assert load_settings(None, {"architecture": name, "engine_loads": "serving"}).architecture == name


def test_every_architecture_can_be_chosen_and_no_other():
    """The catalogue has torch, the settings may not load it: they are held together here."""
    choices = get_args(Settings.model_fields["architecture"].annotation)
    assert choices == tuple(KNOWN)
    with pytest.raises(ConfigError, match="CLM_ARCHITECTURE=lstm"):
        load_settings(None, {"architecture": "lstm"})


def test_d9_a_bad_cron_text_is_refused_by_name_and_value(monkeypatch):
    """A schedule that never fires looks like a daemon that works."""
    monkeypatch.setenv("CLM_RETRAIN_CRON", "every day at noon")
    with pytest.raises(ConfigError, match="CLM_RETRAIN_CRON=every day at noon"):
        load_settings()


def test_a_journal_pattern_without_the_file_is_refused(monkeypatch):
    """A line that every start writes would prove nothing."""
    monkeypatch.setenv("CLM_ENGINE_JOURNAL_PATTERN", "PatchTST loaded")
    with pytest.raises(ConfigError, match="CLM_ENGINE_JOURNAL_PATTERN=PatchTST loaded"):
        load_settings()
    monkeypatch.setenv("CLM_ENGINE_JOURNAL_PATTERN", "PatchTST loaded: {file}")
    assert load_settings().engine_journal_pattern == "PatchTST loaded: {file}"


def test_d10_an_interval_of_seconds_is_refused(monkeypatch):
    """0.001 hours is a mistake, not a request."""
    monkeypatch.setenv("CLM_RETRAIN_INTERVAL_H", "0.001")
    with pytest.raises(ConfigError, match=r"0 \(off\) or at least 0\.1 hours"):
        load_settings()


def test_shares_must_leave_a_test_part(monkeypatch):
    """A run without test rows can show nothing."""
    monkeypatch.setenv("CLM_TRAIN_SHARE", "0.9")
    with pytest.raises(ConfigError, match="leave at least"):
        load_settings()


def test_the_root_moves_every_default_path_and_no_chosen_one(monkeypatch):
    """Development must not touch the server's files, and a path that was asked for is that path."""
    monkeypatch.setenv("CLM_ROOT", "/some/where")
    monkeypatch.setenv("CLM_STORE", "/elsewhere/x.db")
    settings = load_settings()
    assert settings.store == Path("/elsewhere/x.db")
    assert settings.models_dir == Path("/some/where/opt/quantum/ai_engine/models")
    assert settings.engine_env_file == Path("/some/where/etc/quantum/ai-engine.env")
    assert settings.state_dir == Path("/some/where/var/lib/quantum-clm")


def test_the_environment_wins_over_the_file_and_an_option_over_both(monkeypatch):
    """The nearer request counts."""
    monkeypatch.setenv("CLM_EPOCHS", "5")
    settings = load_settings({"CLM_EPOCHS": "4", "CLM_SEED": "11"}, {"store": Path("/a.db")})
    assert (settings.epochs, settings.seed, settings.store) == (5, 11, Path("/a.db"))


def test_l7_the_password_comes_from_a_file_only(monkeypatch, tmp_path):
    """An environment variable is readable by everybody who may read /proc."""
    (tmp_path / "redis-password").write_text("s3cret\n")
    assert redis_password(load_settings()) is None
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert redis_password(load_settings()) == "s3cret"
    with pytest.raises(ConfigError, match="REDIS_PASSWORD_UNREADABLE"):
        redis_password(load_settings({"CLM_REDIS_PASSWORD_FILE": str(tmp_path / "absent")}))
