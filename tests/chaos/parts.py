"""The parts of `make chaos`; each takes less than an hour on two cores."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Test files that `make chaos PART=name` runs together."""

    name: str
    files: tuple[str, ...]
    what: str


PARTS: tuple[Part, ...] = (
    Part(
        name="kills", files=("test_kills.py",), what="SIGKILL at every act of a promotion and of its recovery"
    ),
    Part(
        name="helper",
        files=("test_helper_kills.py",),
        what="root's helper killed at each of its points, alone and together with the daemon",
    ),
    Part(name="power", files=("test_power.py",), what="power loss at every act of a promotion"),
    Part(name="syscalls", files=("test_syscalls.py",), what="a fault in every system call of a promotion"),
    Part(
        name="envfiles",
        files=("test_env_oracle.py",),
        what="generated environment files, read by a real systemd before and after the rewriting",
    ),
    Part(
        name="engines", files=("test_moody_engines.py",), what="engines that misbehave under a real systemd"
    ),
    Part(
        name="mutants", files=("test_mutants.py",), what="mistakes in the code that `make test` must notice"
    ),
    Part(
        name="rates",
        files=("test_gate_rates.py",),
        what="how often the gates promote networks trained on noise, and on skill",
    ),
    Part(
        name="history",
        files=("test_null_history.py",),
        what="stores without signal, retrained on two hundred times each",
    ),
    Part(
        name="causes",
        files=("test_planted_causes.py",),
        what="planted faults of data and training, which the diagnosis must name",
    ),
    Part(
        name="delivery",
        files=("test_delivery.py",),
        what="a redis-server that is killed under load, and sequences of faults on queue, outbox and streams",
    ),
    Part(
        name="cycles",
        files=("test_many_cycles.py",),
        what="two hundred cycles in one daemon: memory, descriptors and zombies stay flat",
    ),
)
