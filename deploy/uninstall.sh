#!/usr/bin/env bash
# deploy/uninstall.sh [--purge] - removes what install.sh put, and puts back what it replaced.
#   --purge  also remove the edited settings and /var/lib/quantum-clm: runs, proofs, registered models
# DESTDIR=DIR removes the files below DIR. Safe to run again. The store, the engine's models and user qt stay.
set -euo pipefail

PROJECT=$(cd "$(dirname "$0")/.." && pwd)
UNITS=(quantum-clm.service quantum-clm-switch.socket)
DESTDIR=${DESTDIR:-}
# shellcheck source=deploy/files.sh
. "$PROJECT/deploy/files.sh"

say() { echo "uninstall: $*"; }
die() { echo "uninstall: $*" >&2; exit "${STATUS:-78}"; }

purge=''
case ${1-} in
  '') ;;
  --purge) purge=yes ;;
  *) sed -n '2,4s/^# \{0,1\}//p' "$0" >&2; exit 64 ;;
esac
[[ -n $DESTDIR || $(id -u) == 0 ]] || STATUS=77 die "must be root, or DESTDIR must name a directory"

take() {  # the file, and back what it replaced
  local target=$DESTDIR$1
  if [[ -e $target ]]; then rm -f "$target"; say "removed $1"; fi
  if [[ -e $target.replaced ]]; then mv -T "$target.replaced" "$target"; say "put back $1 as it was"; fi
}

booted=''
if [[ -z $DESTDIR && -d /run/systemd/system ]]; then booted=yes; fi
[[ -z $booted ]] || systemctl --quiet disable --now "${UNITS[@]}" 2>/dev/null || true
take_back_env_file
rm -f "$DESTDIR/etc/quantum/ai-engine.env.clm-previous"
remove_first_version
while read -r _ target _; do take "$target"; done < <(installed_files | grep ' /etc/')
settings=$DESTDIR/etc/quantum/clm.env
if [[ -n $purge ]] || same_settings "$settings" "$DESTDIR$HOME_DIR/clm.env.shipped"; then
  rm -f "$settings" "$settings.new"
elif [[ -e $settings ]]; then
  say "kept /etc/quantum/clm.env, which was edited"
fi
rm -rf "$DESTDIR$HOME_DIR"
if [[ -n $purge ]]; then
  rm -rf "$DESTDIR/var/lib/quantum-clm" "$DESTDIR/var/lib/quantum-clm-switch"
elif [[ -d $DESTDIR/var/lib/quantum-clm ]]; then
  say "kept /var/lib/quantum-clm"
fi
[[ -z $booted ]] || systemctl daemon-reload
say "done"
