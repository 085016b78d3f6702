"""Whatever order it is given, the helper writes nothing but the path of a model that it has verified."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from clm.errors import ConfigError, PromotionError
from clm.promotion.switch_order import ORDER_FILE, Action, Order, name_of
from clm.settings import Settings
from clm.switch.helper import serve
from clm.switch.site import DEFAULTS, site_of
from tests.promotion.server import NEW, OLD, Server
from tests.switch.helped import Helper
from tests.switch.helped import site_of as site_of_server

POLKIT = Path(__file__).parents[2] / "deploy/systemd/50-quantum-clm.rules"


def installed(server: Server) -> Order:
    """Put a registered model in its place, and return the order that names it."""
    artefact = server.artefact()
    server.new_path.write_bytes(artefact.model_path.read_bytes())
    return Order.new(Action.POINT, NEW, str(server.old_path))


def follow(server: Server, order: Order | bytes, name: str = NEW) -> str:
    """Give an order and return the code of the report; the engine is not asked."""
    site = site_of_server(server)
    data = order.encode() if isinstance(order, Order) else order
    (site.orders_dir / ORDER_FILE).write_bytes(data)
    return serve(site, name, restart=lambda _unit: None).code


def changed(order: Order, **fields: object) -> bytes:
    return json.dumps({**json.loads(order.encode()), **fields}).encode()


def test_a_right_order_is_followed_and_following_it_again_changes_nothing(stopped_server: Server) -> None:
    """Redoable: whoever was killed behind the rename asks once more."""
    server, order = stopped_server, installed(stopped_server)
    assert follow(server, order) == ""
    after = server.env_path.read_bytes()
    assert server.named() == str(server.new_path)
    assert follow(server, order) == ""
    assert server.env_path.read_bytes() == after


def truncate(server: Server) -> None:
    server.new_path.write_bytes(b"good")


def flip(server: Server) -> None:
    data = bytearray(server.new_path.read_bytes())
    data[3] ^= 1
    server.new_path.write_bytes(data)


def link(server: Server) -> None:
    server.new_path.rename(server.root / "real")
    server.new_path.symlink_to(server.root / "real")


def pipe(server: Server) -> None:
    server.new_path.unlink()
    os.mkfifo(server.new_path)


def directory(server: Server) -> None:
    server.new_path.unlink()
    server.new_path.mkdir()


def gone(server: Server) -> None:
    server.new_path.unlink()


def manifest_of_another(server: Server) -> None:
    path = server.root / "artefacts" / NEW / "manifest.json"
    path.write_text(path.read_text().replace(NEW, OLD))


def manifest_is_a_link(server: Server) -> None:
    path = server.root / "artefacts" / NEW / "manifest.json"
    path.rename(server.root / "real")
    path.symlink_to(server.root / "real")


def manifest_is_nonsense(server: Server) -> None:
    (server.root / "artefacts" / NEW / "manifest.json").write_text("[" * 100_000)


def manifest_is_no_object(server: Server) -> None:
    (server.root / "artefacts" / NEW / "manifest.json").write_text("[]")


def unregistered(server: Server) -> None:
    (server.root / "artefacts" / NEW / "manifest.json").unlink()


@pytest.mark.parametrize(
    "attack",
    [
        truncate,
        flip,
        link,
        pipe,
        directory,
        gone,
        manifest_of_another,
        manifest_is_a_link,
        manifest_is_nonsense,
        manifest_is_no_object,
        unregistered,
    ],
)
def test_l3_l5_a_model_that_is_not_what_its_manifest_says_is_refused(
    stopped_server: Server, attack: Callable[[Server], None]
) -> None:
    """The helper hashes what lies there now; links and pipes are not followed and not waited for."""
    server, order = stopped_server, installed(stopped_server)
    attack(server)
    before = server.env_path.read_bytes()
    assert follow(server, order) == "SWITCH_REFUSED"
    assert server.env_path.read_bytes() == before


@pytest.mark.parametrize(
    "name",
    [
        "",
        "../../etc/shadow",
        "patchtst_v20260301_120000.pth",
        "patchtst_v20260301_120000/../x",
        "patchtst_v20260301_120000\n",
        "patchtst_v2026030١_120000",
        "other-../../../../etc",
        "other-3F1C0A9BE277",
        "none\nX=1",
        "CHECK",
        "a" * 5000,
    ],
)
def test_l5_a_name_that_is_none_of_ours_is_refused(stopped_server: Server, name: str) -> None:
    """The name of the unit's instance comes from outside, whatever polkit lets through."""
    before, order = stopped_server.env_path.read_bytes(), installed(stopped_server)
    with pytest.raises(PromotionError, match="SWITCH_REFUSED"):
        follow(stopped_server, order, name)
    with pytest.raises(PromotionError, match="SWITCH_ORDER"):
        follow(stopped_server, changed(order, name=name))
    assert stopped_server.env_path.read_bytes() == before


@pytest.mark.parametrize(
    "bend",
    [
        lambda order: b"",
        lambda order: b"\xff\xfe",
        lambda order: b"[" * 15_000,
        lambda order: b"[]",
        lambda order: changed(order, more=1),
        lambda order: changed(order, expected=1),
        lambda order: changed(order, name=["x"]),
        lambda order: changed(order, action="exec"),
        lambda order: changed(order, order_id="../../x"),
        lambda order: order.encode().replace(b'"action"', b'"action": "point", "act"'),
    ],
)
def test_l5_an_order_that_is_not_exactly_one_is_refused(
    stopped_server: Server, bend: Callable[[Order], bytes]
) -> None:
    """User qt writes it, so it may hold anything."""
    before, order = stopped_server.env_path.read_bytes(), installed(stopped_server)
    with pytest.raises(PromotionError, match="SWITCH_ORDER"):
        follow(stopped_server, bend(order))
    assert stopped_server.env_path.read_bytes() == before


def test_l5_an_order_that_is_too_big_a_link_or_for_another_target_is_refused(stopped_server: Server) -> None:
    """Reading is bounded, and the instance that was started is the one that is served."""
    server, order = stopped_server, installed(stopped_server)
    before = server.env_path.read_bytes()
    with pytest.raises(PromotionError, match=r"SWITCH_REFUSED: .* more than 16384 bytes"):
        follow(server, changed(order, expected="/" * 20_000))
    assert follow(server, order, "none") == "SWITCH_REFUSED"
    path = site_of_server(server).orders_dir / ORDER_FILE
    path.rename(server.root / "order")
    path.symlink_to(server.root / "order")
    with pytest.raises(PromotionError, match="SWITCH_REFUSED"):
        serve(site_of_server(server), NEW, restart=lambda _unit: None)
    assert server.env_path.read_bytes() == before


@pytest.mark.parametrize("expected", [None, "/somewhere/else.pth", "/etc/shadow\nX=1"])
def test_g8_a_value_that_is_not_the_expected_one_is_left_alone(
    stopped_server: Server, expected: str | None
) -> None:
    """Compare and swap: an operator's choice, or another promotion's, is not overwritten."""
    server, order = stopped_server, installed(stopped_server)
    before = server.env_path.read_bytes()
    assert follow(server, changed(order, expected=expected)) == "ENV_CHANGED"
    assert server.env_path.read_bytes() == before


@pytest.mark.parametrize("name", ["none", "other-3f1c0a9be277", OLD])
def test_what_the_helper_never_found_cannot_be_brought_back(stopped_server: Server, name: str) -> None:
    """Without a note of its own there is no path, however well it is called."""
    server = stopped_server
    before = server.env_path.read_bytes()
    server.env_path.write_bytes(before.replace(str(server.old_path).encode(), b"/x.pth"))
    before = server.env_path.read_bytes()
    assert follow(server, Order.new(Action.POINT, name, "/x.pth"), name) == "SWITCH_REFUSED"
    assert server.env_path.read_bytes() == before


def test_a_champion_that_was_exchanged_meanwhile_is_not_brought_back(stopped_server: Server) -> None:
    """The note holds the hash of the file as it was when it served."""
    server, order = stopped_server, installed(stopped_server)
    assert follow(server, order) == ""
    server.old_path.write_bytes(b"evil champion")
    back = Order.new(Action.POINT, OLD, str(server.new_path))
    assert follow(server, back, OLD) == "SWITCH_REFUSED"
    assert server.named() == str(server.new_path)


def test_a_restart_on_what_the_file_names_needs_no_note(stopped_server: Server) -> None:
    """The champion may never have been anybody's target; it may be restarted all the same."""
    order = Order.new(Action.RESTART, OLD, None)
    assert follow(stopped_server, order, OLD) == ""


def test_no_restart_on_a_model_that_the_file_does_not_name(stopped_server: Server) -> None:
    """A restart is an outage; it is made for the model that was verified or not at all."""
    server, order = stopped_server, installed(stopped_server)
    assert follow(server, changed(order, action="restart", expected=None)) == "ENV_CHANGED"


def test_the_report_says_what_stood_in_the_way_and_is_not_taken_for_a_later_one(server: Server) -> None:
    """The daemon reads the same text it would have had itself; an old report is no answer."""
    helper = Helper(server)
    right = server.artefact().model_path.read_bytes()
    server.new_path.write_bytes(b"something else")
    switch = helper.switch()
    with pytest.raises(PromotionError, match=r"SWITCH_REFUSED: .* is not its manifest's"):
        switch.point(expected=server.old_path, target=server.new_path, env_sha256_before="")
    server.new_path.write_bytes(right)
    helper.die_at("helper_rewriting")
    with pytest.raises(PromotionError, match="SWITCH_FAILED: the helper ended"):
        switch.point(expected=server.old_path, target=server.new_path, env_sha256_before="")


def test_a_check_sweeps_and_says_what_stands_in_the_way(stopped_server: Server) -> None:
    """The preflight of every promotion asks the helper itself, not a copy of its rules."""
    server, switch = stopped_server, Helper(stopped_server).switch()
    left = server.env_path.parent / ".ai-engine.env.clm-1-0.tmp"
    left.write_bytes(b"half")
    assert switch.sweep() == (left.name,)
    assert not left.exists()
    switch.refuse_unusable()
    server.env_path.write_bytes(b"")
    with pytest.raises(PromotionError, match="ENV_EMPTY"):
        switch.refuse_unusable()


def test_the_helpers_defaults_are_those_of_the_settings() -> None:
    """It cannot read the settings' code, which needs packages; so the two are held together here."""
    settings = Settings()
    site = site_of({}, Path("/own"))
    assert site.env_file.path == settings.engine_env_file
    assert site.models_dir == settings.models_dir
    assert site.artefacts_dir == settings.artefacts_dir
    assert site.orders_dir == settings.state_dir / "switch"
    assert site.engine_unit == settings.engine_unit
    assert {name.removeprefix("CLM_").lower() for name in DEFAULTS} <= Settings.model_fields.keys()


@pytest.mark.parametrize(
    "variables",
    [
        {"CLM_MODELS_DIR": "models"},
        {"CLM_ENGINE_ENV_FILE": "/etc/quantum/../shadow"},
        {"CLM_ENGINE_UNIT": "--now"},
        {"CLM_ENGINE_UNIT": "quantum-ai-engine.socket"},
    ],
)
def test_settings_that_cannot_be_meant_end_the_helper(variables: dict[str, str]) -> None:
    """A relative path or an option in place of a unit does no harm."""
    with pytest.raises(ConfigError, match="CONFIG_INVALID"):
        site_of(variables, Path("/own"))


def test_every_name_of_a_target_is_one_that_polkit_lets_through_and_no_more() -> None:
    """The rule and the helper say the same of a name."""
    found = re.search(r"/(\^quantum-clm-switch@.*)/\.test", POLKIT.read_text())
    assert found
    rule = re.compile(found[1].replace("$", r"\Z"))
    models = Path("/m")
    for path in (None, "/m/patchtst_v20260301_120000.pth", "/m/x.pth", "/n/patchtst_v20260301_120000.pth"):
        assert rule.match(f"quantum-clm-switch@{name_of(path, models)}.service")
    for name in ("", "x", "patchtst_v2026_1", "other-1", "check2", "none.service\nx"):
        assert not rule.match(f"quantum-clm-switch@{name}.service")


def test_the_helper_loads_nothing_but_the_standard_library() -> None:
    """What runs as root is small enough to be read in one sitting, and none of it is a stranger's."""
    script = (
        "import sys; sys.path.insert(0, sys.argv[1]); import clm.switch.__main__;"
        "print(*{m.partition('.')[0] for m in sys.modules} - set(sys.stdlib_module_names) - {'__main__'})"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", script, str(root)], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["clm"]


def test_a_wrong_command_line_is_said_in_one_line(tmp_path: Path) -> None:
    """The journal gets the code, systemd the exit status."""
    for arguments, code in (([], 64), (["../x"], 74)):
        done = subprocess.run(
            [sys.executable, "-m", "clm.switch", *arguments],
            capture_output=True,
            text=True,
            env={"STATE_DIRECTORY": str(tmp_path)},
            cwd=Path(__file__).parents[2],
        )
        assert done.returncode == code
        assert len(done.stderr.splitlines()) == 1, done.stderr
