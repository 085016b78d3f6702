"""Settings are read once, all problems are reported at once, and the shipped file equals the code."""

import json
import re
from pathlib import Path
from typing import get_args

import pytest

from clm.domain.architecture import KNOWN
from clm.engine.env_file import parse
from clm.errors import ConfigError
from clm.settings import Settings, example_env, load_settings, old_names, redis_password
from clm.settings.fields import EVERYDAY, GROUPS
from clm.settings.groups import Replaced
from clm.settings.names import FIELDS

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in [name for name in os.environ if name.startswith("CLM_")]:
        monkeypatch.delenv(name)


def test_the_shipped_clm_env_documents_the_everyday_settings_with_their_defaults():
    """The operator reads the file, the daemon the code: they must agree."""
    assert (ROOT / "etc/quantum/clm.env").read_text() == example_env()
    assert 15 <= example_env().count("\n#CLM_") <= 30
    assert re.search(r"^#CLM_\w+__", example_env(), re.MULTILINE) is None


def test_every_setting_has_a_meaning_and_one_name():
    """A setting that cannot be explained is not offered."""
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []
    assert set(FIELDS.values()) | set(Replaced.model_fields) == set(Settings.model_fields)
    assert re.findall(r"^#(CLM_\w+)=", example_env(everything=True), re.MULTILINE) == list(FIELDS)


def test_no_section_overrides_a_validator_of_another():
    """They are inherited into one class, where a second method of the same name would replace the first."""
    found = [name for one in (*EVERYDAY, *GROUPS) for name in one.__dict__ if name.startswith("_")]
    ours = [name for name in found if not name.startswith(("__", "_abc"))]
    assert len(ours) == len(set(ours))


def test_no_name_without_a_group_is_also_a_group():
    """CLM_REDIS next to CLM_REDIS__URL would leave open which one counts."""
    groups = {name.partition("__")[0] for name in FIELDS if "__" in name}
    assert groups & set(FIELDS) == set()


def test_the_shipped_files_set_nothing_else_than_the_defaults():
    """An operator who removes every # changes nothing."""
    text = re.sub(r"^#(CLM_\w+=)", r"\1", example_env(everything=True), flags=re.MULTILINE)
    assert load_settings(parse(text.encode())) == load_settings()


OLD = ROOT / "tests/fixtures/settings"


def test_a_settings_file_of_the_first_edition_gives_the_same_settings():
    """Each of its 94 settings is changed from the default; the JSON is what that edition made of the file."""
    settings = load_settings(parse((OLD / "first_edition.env").read_bytes()))
    then = json.loads((OLD / "first_edition.json").read_text())
    assert (settings.interval_h, settings.cron) == (then.pop("retrain_interval_h"), then.pop("retrain_cron"))
    then.pop("switch", None)
    assert then.pop("min_free_mb") == settings.promotion_min_free_mb
    assert then.pop("train_min_free_share") == settings.training_min_free_share
    now = settings.model_dump(mode="json")
    assert {name: now[name] for name in then} == then


@pytest.mark.parametrize(
    ("given", "thresholds"),
    [
        ({}, (200, 1000, 0.05, 0.9)),
        ({"CLM_DISK_MARK": "0.8"}, (200, 1000, 0.05, 0.8)),
        ({"CLM_TRAIN_MIN_FREE_MB": "5000"}, (200, 5000, 0.05, 0.9)),
        ({"CLM_MIN_FREE_MB": "300"}, (300, 1000, 0.05, 0.9)),
        ({"CLM_DISK__MAX_USED_SHARE": "0.8"}, (200, 1000, 0.1, 0.8)),
        ({"CLM_DISK__MIN_FREE_MB": "5000"}, (1000, 5000, 0.05, 0.9)),
    ],
)
def test_two_disk_thresholds_replace_four_and_old_files_keep_theirs(given, thresholds):
    """An old name of one threshold must not move the three others."""
    of = load_settings(given)
    found = (of.promotion_min_free_mb, of.train_min_free_mb, of.training_min_free_share, of.disk_mark)
    assert found == thresholds


@pytest.mark.parametrize(
    ("given", "interval_h", "cron"),
    [
        ({"CLM_SCHEDULE": "30m"}, 0.5, ""),
        ({"CLM_SCHEDULE": "24h"}, 24.0, ""),
        ({"CLM_SCHEDULE": "7d"}, 168.0, ""),
        ({"CLM_SCHEDULE": "off"}, 0.0, ""),
        ({"CLM_SCHEDULE": "0 3 * * *"}, 0.0, "0 3 * * *"),
        ({"CLM_RETRAIN_INTERVAL_H": "0"}, 0.0, ""),
        ({"CLM_RETRAIN_INTERVAL_H": "0.1"}, 0.1, ""),
        ({"CLM_RETRAIN_INTERVAL_H": "6", "CLM_RETRAIN_CRON": "0 3 * * *"}, 0.0, "0 3 * * *"),
        ({"CLM_RETRAIN_INTERVAL_H": "24", "CLM_SCHEDULE": "24h"}, 24.0, ""),
    ],
)
def test_one_schedule_replaces_an_interval_and_a_cron_expression(given, interval_h, cron):
    """With two settings the reader has to know which one counts."""
    settings = load_settings(given)
    assert (settings.interval_h, settings.cron) == (interval_h, cron)


@pytest.mark.parametrize("text", ["", "0h", "1m", "2y", "24", "-1h", "400d", "nanh", "hourly", "0 3 * *"])
def test_a_schedule_that_would_never_or_always_fire_is_refused(text):
    """A schedule that never fires looks like a daemon that works."""
    with pytest.raises(ConfigError, match=f"CLM_SCHEDULE={re.escape(text)}: "):
        load_settings({"CLM_SCHEDULE": text})


def test_an_old_name_works_and_is_reported_with_the_new_one(monkeypatch):
    """Scripts and servers outlive a rename."""
    assert load_settings({"CLM_EPOCHS": "5"}).epochs == 5
    monkeypatch.setenv("CLM_MAX_ECE", "0.07")
    assert load_settings().max_ece == 0.07
    assert old_names({"CLM_EPOCHS": "5", "CLM_STORE": "/x.db"}) == {
        "CLM_EPOCHS": "CLM_TRAINING__EPOCHS",
        "CLM_MAX_ECE": "CLM_GATES__MAX_ECE",
    }


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({"CLM_EPOCHS": "5"}, {"CLM_TRAINING__EPOCHS": "4"}),
        ({"CLM_RETRAIN_INTERVAL_H": "5"}, {"CLM_SCHEDULE": "4h"}),
    ],
)
def test_an_old_and_a_new_name_with_different_values_are_refused(monkeypatch, old, new):
    """Either choice would be a surprise; the environment still overrides the file."""
    with pytest.raises(ConfigError) as caught:
        load_settings(old | new)
    assert all(name in str(caught.value) for name in old | new)
    for name, value in old.items():
        monkeypatch.setenv(name, value)
    settings = load_settings(new)
    assert settings.epochs == 5 or settings.interval_h == 5


def test_m3_all_problems_are_said_at_once_with_the_nearest_known_name(monkeypatch):
    """Fixing one typo a restart is not how anybody wants to spend an evening."""
    monkeypatch.setenv("CLM_EPOCH", "5")
    monkeypatch.setenv("CLM_DROPOUT", "lots")
    monkeypatch.setenv("CLM_BATCH_SIZE", "0")
    with pytest.raises(ConfigError) as raised:
        load_settings()
    text = str(raised.value)
    assert "CLM_EPOCH is not a setting, did you mean CLM_TRAINING__EPOCHS?" in text
    assert "CLM_TRAINING__DROPOUT=lots" in text
    assert "CLM_TRAINING__BATCH_SIZE=0" in text
    assert "3 problems" in text
    assert raised.value.exit_code == 78


def test_m3_an_unknown_name_in_the_file_is_said_too():
    """systemd would hand it to the daemon, so the command line must see it as well."""
    with pytest.raises(ConfigError, match="CLM_STOER is not a setting, did you mean CLM_STORE"):
        load_settings({"CLM_STOER": "/x.db"})


@pytest.mark.parametrize("value", ["nan", "inf", "-1", "", "yes"])
def test_m3_a_figure_that_is_none_is_refused(monkeypatch, value):
    """NaN passes every comparison that is written the wrong way round."""
    monkeypatch.setenv("CLM_MIN_CONFIDENCE_STD", value)
    with pytest.raises(ConfigError, match="CLM_GATES__MIN_CONFIDENCE_STD"):
        load_settings()


@pytest.mark.parametrize("name", [name for name in KNOWN if name != "engine"])
def test_an_architecture_that_the_engine_cannot_load_is_refused_in_a_line_that_says_what_to_set(name):
    """It would train for hours, pass, and leave the engine on random weights."""
    with pytest.raises(ConfigError) as raised:
        load_settings(None, {"architecture": name})
    assert raised.value.exit_code == 78
    assert f"CLM_ARCHITECTURE={name}" in str(raised.value)
    assert "CLM_ARCHITECTURE=engine, or CLM_ENGINE__LOADS=serving" in str(raised.value)
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
    with pytest.raises(ConfigError, match="CLM_SCHEDULE=every day at noon"):
        load_settings()


def test_a_journal_pattern_without_the_file_is_refused(monkeypatch):
    """A line that every start writes would prove nothing."""
    monkeypatch.setenv("CLM_ENGINE_JOURNAL_PATTERN", "PatchTST loaded")
    with pytest.raises(ConfigError, match="CLM_ENGINE__JOURNAL_PATTERN=PatchTST loaded"):
        load_settings()
    monkeypatch.setenv("CLM_ENGINE_JOURNAL_PATTERN", "PatchTST loaded: {file}")
    assert load_settings().engine_journal_pattern == "PatchTST loaded: {file}"


def test_d10_an_interval_of_seconds_is_refused(monkeypatch):
    """0.001 hours is a mistake, not a request."""
    monkeypatch.setenv("CLM_RETRAIN_INTERVAL_H", "0.001")
    with pytest.raises(ConfigError, match=r"CLM_SCHEDULE=0\.001h: must be between 6m and 366d, or off"):
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
