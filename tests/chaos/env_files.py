"""Environment files as people, editors, scripts and accidents leave them, drawn from a seed."""

import random

KEY = "PATCHTST_MODEL_PATH"
OLD, NEW = "/opt/models/patchtst_v20260109_233444.pth", "/opt/models/patchtst_v20260301_120000.pth"
_WORDS = (
    "a b",
    "x  y ",
    "$HOME",
    "${A}",
    "`id`",
    "#5",
    "v # no comment",
    '["BTCUSDT","ETHUSDT"]',
    "p=q=r",
    "é€𝄞",
    "a\\tb",
    "\\x41",
    "it's",
    'say "hi"',
    "-",
    "\t1",
    ";",
    "0",
)
_NAMES = ("A", "B1", "_C", "LONG_NAME_OF_SOMETHING", "d", "E")
_ACCIDENTS = (
    "no assignment",
    "export D=1",
    "1BAD=2",
    "BAD NAME=3",
    "BAD-NAME=4",
    "=5",
    "A = spaced",
    "  B1=indented",
    "A=one\\",
    "# comment \\",
    "_C='open",
    'd="open',
    "E='one\ntwo'",
    "E=a\\\n  b",
    "\ufeffA=1",
    f"export {KEY}={OLD}",
    f"{KEY} = {OLD}",
    f"{KEY}=/other.pth",
    f"#{KEY}={OLD}",
    "A=\x01",
    "B1=\x7f",
    "_C=\x0b",
    "A=x\ry",
)


def env_file(seed: int) -> bytes:
    """Return one file; most are sound, the others each have an accident or two."""
    draw = random.Random(seed)
    lines = [_line(draw) for _ in range(draw.randrange(6))]
    if draw.random() < 0.9:
        lines.insert(draw.randrange(len(lines) + 1), _quoted(draw, KEY, OLD))
    if draw.random() < 0.4:
        for _ in range(draw.choice((1, 1, 2))):
            lines.insert(draw.randrange(len(lines) + 1), draw.choice(_ACCIDENTS))
    newline = draw.choice(("\n", "\n", "\n", "\r\n", "\r"))
    data = newline.join([*lines, *([""] if draw.random() < 0.8 else [])]).encode()
    if draw.random() < 0.02:
        at = draw.randrange(len(data) + 1)
        data = data[:at] + draw.choice((b"\0", b"\xff", b"\xc3")) + data[at:]
    return data


def _line(draw: random.Random) -> str:
    kind = draw.random()
    if kind < 0.15:
        return draw.choice(("", "# comment", "; also one", "   ", "#", '# it\'s "odd"'))
    return _quoted(draw, draw.choice(_NAMES), draw.choice(_WORDS) if kind < 0.8 else "")


def _quoted(draw: random.Random, name: str, value: str) -> str:
    form = draw.randrange(6)
    if form == 0 and "'" not in value:
        return f"{name}='{value}'"
    if form == 1:
        escaped = "".join(f"\\{c}" if c in '"\\`$' else c for c in value)
        return f'{name}="{escaped}"'
    if form == 2:
        return f"{name}={value}" + draw.choice((" ", "\t", "  "))
    return f"{name}={value}"
