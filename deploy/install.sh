#!/usr/bin/env bash
# deploy/install.sh [--direct-switch] [--venv DIR | --no-venv] - puts quantum-clm on this machine as a service.
#   --direct-switch  let user qt itself rewrite the engine's environment file and restart the engine, instead of
#                    a root helper that qt may start (CLM_SWITCH in clm.env remembers which)
#   --venv DIR       run from the virtual environment DIR instead of one made in /opt/quantum/clm
#   --no-venv        leave the virtual environment alone
# DESTDIR=DIR puts only the files, below DIR, and runs nothing: for packages.
# Safe to run again. An edited /etc/quantum/clm.env is never overwritten. Nothing is started or enabled.
set -euo pipefail
umask 022

PROJECT=$(cd "$(dirname "$0")/.." && pwd)
HOME_DIR=/opt/quantum/clm UNIT=quantum-clm.service ENGINE=quantum-ai-engine.service
DESTDIR=${DESTDIR:-}
# shellcheck source=deploy/files.sh
. "$PROJECT/deploy/files.sh"

say() { echo "install: $*"; }
die() { echo "install: $*" >&2; exit "${STATUS:-78}"; }

direct_switch='' venv=make
while (($#)); do
  case $1 in
    --direct-switch) direct_switch=yes; shift ;;
    --no-venv) venv=''; shift ;;
    --venv) [[ -n ${2-} ]] || STATUS=64 die "--venv needs a directory"; venv=$2; shift 2 ;;
    *) sed -n '2,8s/^# \{0,1\}//p' "$0" >&2; exit 64 ;;
  esac
done
[[ -n $DESTDIR || $(id -u) == 0 ]] || STATUS=77 die "must be root, or DESTDIR must name a directory to put the files below"

put() {  # put SOURCE TARGET MODE: a stranger's file in its place is kept beside it
  local source=$PROJECT/$1 target=$DESTDIR$2 mode=$3
  if cmp -s "$source" "$target" && [[ $(stat -c %a "$target") == "${mode#0}" ]]; then return; fi
  if [[ -e $target ]] && ! grep -q 'quantum-clm: put here by deploy/install.sh' "$target"; then
    [[ -e $target.replaced ]] || { cp -p "$target" "$target.replaced"; say "kept what stood at $2 as $2.replaced"; }
  fi
  install -D -m "$mode" "$source" "$target.new"
  mv -T "$target.new" "$target"
  say "$2"
}

switch_in_force() { { sed -n 's/^CLM_SWITCH=//p' "$DESTDIR/etc/quantum/clm.env" 2>/dev/null || true; } | tail -n 1 | tr -d "\"' \r"; }

# What was asked for by name is remembered where the daemon reads it; every other byte of the settings stays.
choose_direct_switch() {  # choose_direct_switch SETTINGS
  local settings=$1
  [[ $(switch_in_force) != direct ]] || return 0
  cp -p "$settings" "$settings.tmp"
  if grep -q '^#\?CLM_SWITCH=' "$settings"; then
    sed -i 's/^#\?CLM_SWITCH=.*/CLM_SWITCH=direct/' "$settings.tmp"
  else
    echo CLM_SWITCH=direct >>"$settings.tmp"
  fi
  mv -T "$settings.tmp" "$settings"
  say "CLM_SWITCH=direct in /etc/quantum/clm.env"
}

put_settings() {  # new where there is none, or where the old one is as it was shipped; else clm.env.new beside it
  local source=$PROJECT/etc/quantum/clm.env target=$DESTDIR/etc/quantum/clm.env shipped=$DESTDIR$HOME_DIR/clm.env.shipped
  local chosen=${direct_switch:+direct}
  chosen=${chosen:-$(switch_in_force)}
  if [[ -e $target ]] && ! same_settings "$target" "$source" && ! same_settings "$target" "$shipped"; then
    if ! cmp -s "$source" "$target.new" && ! cmp -s "$source" "$shipped"; then
      install -m 0640 "$source" "$target.new"
      say "kept the edited /etc/quantum/clm.env; the settings of this version are in clm.env.new"
    fi
  elif [[ ! -e $target ]] || ! same_settings "$target" "$source"; then
    install -D -m 0640 "$source" "$target.tmp"
    mv -T "$target.tmp" "$target"
    rm -f "$target.new"
    say "/etc/quantum/clm.env"
  fi
  [[ $chosen != direct ]] || choose_direct_switch "$target"
  install -D -m 0644 "$source" "$shipped"
  [[ -n $DESTDIR ]] || find /etc/quantum -maxdepth 1 -name 'clm.env*' -exec chgrp qt {} +
}

# ProtectHome= and PrivateTmp= hide these from the service.
refuse_hidden() {
  case $1/ in
    /root/*|/home/*|/tmp/*|/var/tmp/*|/run/user/*)
      die "$2 lies at $1, where a service with User=qt cannot use it; make the venv with /usr/bin/python3, outside of home and temporary directories" ;;
  esac
}

refuse_hidden_venv() {
  [[ -x $1/bin/clm ]] || die "$1 holds no bin/clm; is it a virtual environment with quantum-clm?"
  refuse_hidden "$(readlink -f "$1")" "the virtual environment"
  refuse_hidden "$(readlink -f "$1/bin/python")" "its Python"
}

refuse_unusable() {  # by trying it as qt
  local package
  package=$(cd / && setpriv --reuid qt --regid qt --clear-groups -- "$1/bin/python" -c 'import clm; print(clm.__file__)' 2>&1) ||
    die "user qt cannot import clm with $1/bin/python: ${package##*$'\n'}"
  refuse_hidden "$package" "the package of that virtual environment"
}

put_venv() {
  local dir=$venv previous
  if [[ $venv == make ]]; then
    # A directory a version, and one link: an installation that breaks leaves the old one in force.
    dir=$HOME_DIR/venvs/$(cd "$PROJECT" && find pyproject.toml constraints.txt clm -type f ! -name '*.pyc' -print0 |
      sort -z | xargs -0 sha256sum | sha256sum | cut -c1-12)
    mkdir -p "$HOME_DIR/venvs"
    "$PROJECT/deploy/venv.sh" "$dir" service
  fi
  dir=$(readlink -f "$dir")
  refuse_hidden_venv "$dir"
  refuse_unusable "$dir"
  [[ $switch == direct ]] || refuse_shared_venv "$dir"
  previous=$(readlink "$HOME_DIR/venv" || true)
  [[ $previous != "$dir" ]] || return 0
  [[ -z $previous || -L $HOME_DIR/venv ]] || die "$HOME_DIR/venv is no link of ours; move it away"
  ln -sfn "$dir" "$HOME_DIR/venv.new"
  mv -T "$HOME_DIR/venv.new" "$HOME_DIR/venv"
  say "$HOME_DIR/venv -> $dir"
  systemctl_if_booted try-restart "$UNIT"
  find "$HOME_DIR/venvs" -mindepth 1 -maxdepth 1 ! -path "$dir" -exec rm -rf {} + 2>/dev/null || true
}

# The helper of the switch is root and runs this very environment.
refuse_shared_venv() {
  local python open
  python=$(readlink -f "$1/bin/python")
  open=$(find "$(dirname "$1")" "$python" -maxdepth 0 \( ! -uid 0 -o -perm /022 \) -print -quit
    find "$1" ! -type l \( ! -uid 0 -o -perm /022 \) -print -quit)
  [[ -z $open ]] || die "$open may be written by others than root, who runs it as the helper of the switch; make it root's alone, or take --direct-switch"
}

systemctl_if_booted() { [[ ! -d /run/systemd/system ]] || systemctl "$@"; }

# Who may write the engine's environment file decides what the engine runs.
refuse_root_engine() {
  local state user
  state=$(systemctl_if_booted show -P LoadState "$ENGINE" || true)
  [[ $state == loaded ]] || return 0
  user=$(systemctl show -P User "$ENGINE")
  [[ -n $user && $user != root && $user != 0 ]] ||
    die "$ENGINE runs as root; writing its environment file would give user qt root: set User= in it first"
}

# The file moves into a directory that qt owns, a link takes its place: a rename there needs no right on /etc/quantum.
put_direct_switch() {
  local file=$DESTDIR/etc/quantum/ai-engine.env dir=$DESTDIR/etc/quantum/ai-engine.d mode
  put deploy/systemd/50-quantum-clm-direct.rules "$RULES" 0644
  if [[ -n $DESTDIR ]]; then
    say "the engine's environment file is moved on the machine itself: run deploy/install.sh --direct-switch there"
    return
  fi
  install -d -m 0750 -o qt -g qt "$dir"
  if [[ -L $file ]]; then
    [[ $(readlink -f "$file") == "$dir/ai-engine.env" ]] || die "$file is a link to $(readlink "$file"), not to ai-engine.d/ai-engine.env; move it by hand"
  elif [[ -f $file ]]; then
    mode=$(stat -c %a "$file")
    install -m "$mode" -o qt -g qt "$file" "$dir/ai-engine.env.tmp"
    sync "$dir/ai-engine.env.tmp"
    mv -T "$dir/ai-engine.env.tmp" "$dir/ai-engine.env"
    ln -sfn ai-engine.d/ai-engine.env "$file.tmp"
    sync "$dir"
    mv -T "$file.tmp" "$file"
    say "$file -> ai-engine.d/ai-engine.env, owned by qt"
  else
    die "$file does not exist; start the engine from it first, then run this again"
  fi
}

# The environment file stays root's; qt may start the helper and reads the file, which names the champion.
put_helper_switch() {
  local file=/etc/quantum/ai-engine.env
  put deploy/systemd/50-quantum-clm.rules "$RULES" 0644
  [[ -z $DESTDIR ]] || return 0
  take_back_env_file
  if [[ ! -e $file ]]; then
    say "models cannot be promoted yet: there is no $file"
  elif ! setpriv --reuid qt --regid qt --init-groups -- test -r "$file"; then
    say "models cannot be promoted yet: qt cannot read $file; where its secrets allow it: chgrp qt, chmod 0640"
  fi
}

[[ -f $PROJECT/etc/quantum/clm.env ]] || die "$PROJECT is no complete source tree: etc/quantum/clm.env is missing"
if [[ -z $DESTDIR ]]; then  # what can be known to go wrong, before anything is touched
  [[ -z $venv || $venv == make ]] || refuse_hidden_venv "$venv"
  [[ -z $direct_switch && $(switch_in_force) != direct ]] || refuse_root_engine
fi
while read -r source target mode; do put "$source" "$target" "$mode"; done < <(installed_files)
if [[ -z $DESTDIR ]]; then
  systemd-sysusers /etc/sysusers.d/quantum-clm.conf
  systemd-tmpfiles --create /etc/tmpfiles.d/quantum-clm.conf
fi
put_settings
switch=$(switch_in_force)
[[ -n $DESTDIR ]] || systemctl_if_booted daemon-reload
if [[ -n $DESTDIR ]]; then
  say "no virtual environment: its paths are those of the machine it is made on"
elif [[ -n $venv ]]; then
  put_venv
fi
if [[ $switch == direct ]]; then put_direct_switch; else put_helper_switch; fi
if [[ -z $DESTDIR ]]; then
  say "done. Next: $HOME_DIR/venv/bin/clm check-config, then systemctl enable --now $UNIT"
fi
