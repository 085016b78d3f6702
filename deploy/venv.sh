#!/usr/bin/env bash
# deploy/venv.sh DIR run|dev|bench|service - makes the virtual environment DIR, or brings it up to date.
#   run      what the program needs, the package editable
#   dev      the same, and what the tests, lint and types need
#   bench    the same, and what the benchmarks hold ours against
#   service  what the program needs, the package installed by copy: independent of this tree
# Does nothing if DIR already has what pyproject.toml and constraints.txt require.
# Calls for the same DIR run one at a time.
set -euo pipefail

say() { echo "venv: $*"; }
die() { echo "venv: $*" >&2; exit 1; }

[[ $# == 2 && $2 =~ ^(run|dev|bench|service)$ ]] || { sed -n '2,8s/^# \{0,1\}//p' "$0" >&2; exit 64; }
SOURCE=$(cd "$(dirname "$0")/.." && pwd)
mkdir -p "$(dirname "$1")"
DIR=$(cd "$(dirname "$1")" && pwd)/$(basename "$1")
KIND=$2

can_make_venv() {  # 3.11 or newer, with what `-m venv` needs
  "$1" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

# The system's Python first: a service with User= cannot use one in a home directory.
python_for_venv() {
  local candidate
  for candidate in /usr/bin/python3 "$(command -v python3 || true)"; do
    if [[ -n $candidate ]] && can_make_venv "$candidate"; then echo "$candidate"; return; fi
  done
  if [[ $(id -u) == 0 ]] && command -v apt-get >/dev/null; then
    say "no Python that can make one: apt-get install python3-venv" >&2
    { apt-get install -qq -y --no-install-recommends python3-venv ||
      { apt-get update -qq && apt-get install -qq -y --no-install-recommends python3-venv; }; } >/dev/null 2>&1 </dev/null || true
    if can_make_venv /usr/bin/python3; then echo /usr/bin/python3; return; fi
  fi
  die "no Python 3.11 or newer with the venv module; install python3 and python3-venv"
}

wanted() {  # what is to be inside, as one hash: an editable package is a path, a copied one its files
  cd "$SOURCE"
  cat pyproject.toml constraints.txt | sha256sum
  case $KIND in
    service) find clm -type f ! -name '*.pyc' -print0 | sort -z | xargs -0 sha256sum ;;
    *) echo "$SOURCE" ;;
  esac
}

holds() { [[ $(cat "$DIR/.holds-$1" 2>/dev/null) == "$WANTED" ]] && "$DIR/bin/python" -c '' 2>/dev/null; }

# -qq: errors only. --no-compile: see compile().
install() { "$DIR/bin/python" -m pip --disable-pip-version-check --no-input install -qq --no-compile "$@" </dev/null; }

# Byte code by all cores at once: a service cannot write it, and pip alone takes a minute for torch.
compile() { "$DIR/bin/python" -m compileall -q -j 0 "$DIR"/lib/python3*/site-packages >/dev/null || true; }

WANTED=$(wanted | sha256sum | cut -d" " -f1)
exec 9<"$(dirname "$DIR")"
flock 9
if holds "$KIND" || { [[ $KIND == run ]] && holds dev; } || { [[ $KIND != service ]] && holds bench; }; then exit 0; fi

started=$SECONDS
if ! "$DIR/bin/python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
  [[ ! -e $DIR || -e $DIR/pyvenv.cfg ]] || die "$DIR exists and is not a virtual environment; remove it or name another"
  python=$(python_for_venv)
  say "$DIR with $("$python" --version)"
  rm -rf "$DIR"
  "$python" -m venv "$DIR"
fi
rm -f "$DIR"/.holds-*

torch=$(grep -m1 -o '^torch==[^ ]*' "$SOURCE/constraints.txt")
say "$torch (the largest part)"
install -c "$SOURCE/constraints.txt" "$torch"
case $KIND in
  run) say "the other packages"; install -c "$SOURCE/constraints.txt" -e "$SOURCE" ;;
  dev) say "the other packages, and those of the tests"; install -c "$SOURCE/constraints.txt" -e "$SOURCE[dev]" ;;
  bench) say "the other packages, and those of tests and benchmarks"; install -c "$SOURCE/constraints.txt" -e "$SOURCE[dev,bench]" ;;
  service)
    say "the other packages, and quantum-clm by copy"
    # From a copy: setuptools would leave build/ in the tree, and take stale files out of it next time.
    stage=$(mktemp -d)
    trap 'rm -rf "$stage"' EXIT
    cp -r "$SOURCE"/{clm,pyproject.toml,README.md} "$stage/"
    install -c "$SOURCE/constraints.txt" "$stage"
    # pip keeps an installed copy whose version number did not change, even where its files did.
    install --no-deps --force-reinstall "$stage"
    ;;
esac
compile
echo "$WANTED" >"$DIR/.holds-$KIND"
say "ready after $((SECONDS - started)) s"
