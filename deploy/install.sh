#!/usr/bin/env bash
# deploy/install.sh [--models-root] [--venv DIR | --no-venv] - puts quantum-clm on this machine as a service.
#   --models-root  give the engine's models directory to root: no one can replace a model that was verified
#   --venv DIR     run from the virtual environment DIR instead of one made in /usr/lib/quantum-clm
#   --no-venv      leave the virtual environment alone
# DESTDIR=DIR puts only the files, below DIR, and runs nothing: for packages.
# Safe to run again. An edited /etc/quantum/clm.env is never overwritten. Nothing is started or enabled.
set -euo pipefail
umask 022

PROJECT=$(cd "$(dirname "$0")/.." && pwd)
UNIT=quantum-clm.service
DESTDIR=${DESTDIR:-}
# shellcheck source=deploy/files.sh
. "$PROJECT/deploy/files.sh"

say() { echo "install: $*"; }
die() { echo "install: $*" >&2; exit "${STATUS:-78}"; }

models_root='' venv=make
while (($#)); do
  case $1 in
    --models-root) models_root=yes; shift ;;
    --no-venv) venv=''; shift ;;
    --venv) [[ -n ${2-} ]] || STATUS=64 die "--venv needs a directory"; venv=$2; shift 2 ;;
    *) sed -n '2,7s/^# \{0,1\}//p' "$0" >&2; exit 64 ;;
  esac
done
[[ -n $DESTDIR || $(id -u) == 0 ]] || STATUS=77 die "must be root, or DESTDIR must name a directory to put the files below"

# Root writes and executes only files that root alone can change, from the root directory down.
refuse_weak() {  # refuse_weak PATH...: of a path that does not exist yet, the nearest directory that does
  local path why
  for path in "$@"; do
    while [[ ! -e $path ]]; do path=$(dirname "$path"); done
    why=$(weakness --path "$path") || die "$why; root would use it: give it to root, without write permission for others"
  done
}

refuse_weak_directories() {
  local target
  while read -r _ target _; do refuse_weak "$(dirname "$target")"; done < <(installed_files)
  refuse_weak /usr/bin/python3 /usr/bin/systemctl /etc/quantum
}

# The source is executed by root as well; that its owner is a person is usual, that it is qt is not.
refuse_source_of_qt() {
  local path=$PROJECT found
  id -u qt >/dev/null 2>&1 || return 0
  while [[ $path != / ]]; do
    found=$(find "$path" -maxdepth 0 \( -user qt -o -group qt -perm /020 -o -perm /002 ! -perm /1000 \) -print)
    [[ -z $found ]] || die "user qt can write $found, and root would execute files from it; move the source"
    path=$(dirname "$path")
  done
  found=$(find "$PROJECT" -mindepth 1 \( -name .git -o -name '.venv*' -o -name var \) -prune -o \
    \( -user qt -o -group qt -perm /020 -o ! -type l -perm /002 \) -print -quit)
  [[ -z $found ]] || die "user qt can write $found, and root would execute it; move the source"
}

put() {  # put SOURCE TARGET MODE: a file of somebody else's in its place is kept next to it
  local source=$PROJECT/$1 target=$DESTDIR$2 mode=$3
  if cmp -s "$source" "$target" && [[ $(stat -c '%F %a' "$target") == "regular file ${mode#0}" ]]; then return; fi
  if [[ ( -e $target || -L $target ) && $2 == /etc/* ]] && ! grep -qs 'quantum-clm: put here by deploy/install.sh' "$target"; then
    [[ -e $target.replaced ]] || { mv -T "$target" "$target.replaced"; say "kept the former $2 as $2.replaced"; }
  fi
  install -D -m "$mode" "$source" "$target.new"
  mv -T "$target.new" "$target"
  say "$2"
}

put_settings() {  # new where there is none, or where the old one is as it was shipped; else clm.env.new next to it
  local source=$PROJECT/etc/quantum/clm.env target=$DESTDIR/etc/quantum/clm.env
  local shipped=$DESTDIR$HOME_DIR/clm.env.shipped known=$DESTDIR$HOME_DIR/clm.env.shipped
  # A first version kept its copy where qt may be able to change it.
  if [[ ! -e $known && -z $DESTDIR ]] && weakness --path "$OLD_HOME/clm.env.shipped" >/dev/null; then known=$OLD_HOME/clm.env.shipped; fi
  if [[ -e $target ]] && ! same_settings "$target" "$source" && ! same_settings "$target" "$known"; then
    if ! cmp -s "$source" "$target.new" && ! cmp -s "$source" "$known"; then
      install -m 0640 "$source" "$target.new"
      say "kept the edited /etc/quantum/clm.env; the settings of this version are in clm.env.new"
    fi
  elif [[ ! -e $target ]] || ! cmp -s "$target" "$source"; then
    install -D -m 0640 "$source" "$target.tmp"
    mv -T "$target.tmp" "$target"
    rm -f "$target.new"
    say "/etc/quantum/clm.env"
  fi
  install -D -m 0644 "$source" "$shipped"
  [[ -n $DESTDIR ]] || find /etc/quantum -maxdepth 1 -type f -name 'clm.env*' -exec chgrp -h qt {} +
}

# ProtectHome= and PrivateTmp= hide these from the service.
refuse_hidden() {
  case $1/ in
    /root/*|/home/*|/tmp/*|/var/tmp/*|/run/user/*)
      die "$2 lies at $1, where a service with User=qt cannot use it; make the venv with /usr/bin/python3, outside of home and temporary directories" ;;
  esac
}

refuse_hidden_venv() {
  [[ -x $1/bin/clm ]] || die "$1 has no bin/clm; is it a virtual environment with quantum-clm?"
  refuse_hidden "$(readlink -f "$1")" "the virtual environment"
  refuse_hidden "$(readlink -f "$1/bin/python")" "its Python"
}

# A path file would make root run unchecked code.
refuse_code_elsewhere() {
  local found
  found=$(find "$1"/lib/python3*/site-packages -maxdepth 1 \( -name '*.pth' ! -name distutils-precedence.pth -o -name '*.egg-link' \) -print -quit)
  [[ -z $found ]] || die "$found leads to code outside of $1, and root runs the command line from there: install quantum-clm by copy"
  ! grep -qi '^include-system-site-packages *= *true' "$1/pyvenv.cfg" 2>/dev/null || die "$1 uses the system's packages: make it without --system-site-packages"
  compgen -G "$1/lib/python3*/site-packages/clm/__init__.py" >/dev/null || die "$1 does not hold quantum-clm by copy"
}

refuse_unusable() {  # by trying it as qt
  local package
  # In a session of its own: qt must not reach the terminal of who runs this.
  package=$(cd / && setsid --wait setpriv --reuid qt --regid qt --clear-groups -- "$1/bin/python" -c 'import clm; print(clm.__file__)' 2>&1) ||
    die "user qt cannot import clm with $1/bin/python: ${package##*$'\n'}"
  refuse_hidden "$package" "the package of that virtual environment"
}

put_venv() {
  local dir=$venv previous why
  if [[ $venv == make ]]; then
    # One directory per version and one link: a failed installation leaves the old version active.
    dir=$HOME_DIR/venvs/$(cd "$PROJECT" && find pyproject.toml constraints.txt clm -type f ! -name '*.pyc' -print0 |
      sort -z | xargs -0 sha256sum | sha256sum | cut -c1-12)
    mkdir -p "$HOME_DIR/venvs"
    "$PROJECT/deploy/venv.sh" "$dir" service
  fi
  dir=$(readlink -f "$dir")
  refuse_hidden_venv "$dir"
  why=$(weakness --below "$dir") || die "$why; root runs the command line from there: make it root's alone"
  refuse_code_elsewhere "$dir"
  refuse_unusable "$dir"
  previous=$(readlink "$HOME_DIR/venv" || true)
  [[ $previous != "$dir" ]] || return 0
  [[ -z $previous || -L $HOME_DIR/venv ]] || die "$HOME_DIR/venv is not the link that the installer makes; move it away"
  ln -sfn "$dir" "$HOME_DIR/venv.new"
  mv -T "$HOME_DIR/venv.new" "$HOME_DIR/venv"
  say "$HOME_DIR/venv -> $dir"
  systemctl_if_booted try-restart "$UNIT"
  find "$HOME_DIR/venvs" -mindepth 1 -maxdepth 1 ! -path "$dir" -exec rm -rf {} + 2>/dev/null || true
}

systemctl_if_booted() { [[ ! -d /run/systemd/system ]] || systemctl "$@"; }

say_what_promotions_need() {
  local file=/etc/quantum/ai-engine.env
  if [[ ! -e $file ]]; then
    say "models cannot be promoted yet: there is no $file"
  elif ! setsid --wait setpriv --reuid qt --regid qt --init-groups -- test -r "$file"; then
    say "models cannot be promoted yet: qt cannot read $file; where its secrets allow it: chgrp qt, chmod 0640"
  fi
}

models_dir() {
  local chosen
  chosen=$({ sed -n 's/^CLM_MODELS_DIR=//p' /etc/quantum/clm.env 2>/dev/null || true; } | tail -n 1 | tr -d "\"' \r")
  echo "${chosen:-/opt/quantum/ai_engine/models}"
}

[[ -f $PROJECT/etc/quantum/clm.env ]] || die "$PROJECT is not a complete source tree: etc/quantum/clm.env is missing"
if [[ -z $DESTDIR ]]; then  # what can be known to go wrong, before anything is touched
  refuse_source_of_qt
  refuse_weak_directories
  [[ -z $venv || $venv == make ]] || refuse_hidden_venv "$venv"
  [[ -z $models_root ]] || refuse_weak "$(dirname "$(models_dir)")"
fi
while read -r source target mode; do put "$source" "$target" "$mode"; done < <(installed_files)
if [[ -z $DESTDIR ]]; then
  systemd-sysusers /etc/sysusers.d/quantum-clm.conf
  systemd-tmpfiles --create /etc/tmpfiles.d/quantum-clm.conf
fi
put_settings
if [[ -n $DESTDIR ]]; then
  say "no virtual environment: its paths are those of the machine it is made on"
  exit 0
fi
take_back_env_file
systemctl_if_booted daemon-reload
[[ -z $venv ]] || put_venv
[[ ! -L $HOME_DIR/venv ]] || remove_first_version
[[ -z $models_root ]] || /usr/bin/python3 -I -B "$PROJECT/deploy/rootfiles.py" own-models "$(models_dir)"
say_what_promotions_need
say "done. Next: $HOME_DIR/venv/bin/clm check-config, then systemctl enable --now $UNIT"
