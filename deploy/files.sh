# What install.sh puts where, and uninstall.sh takes away: source, target, mode; and what both have to undo.
# shellcheck shell=bash
installed_files() {
  cat <<END
deploy/systemd/quantum-clm.service /etc/systemd/system/quantum-clm.service 0644
deploy/systemd/quantum-clm-switch@.service /etc/systemd/system/quantum-clm-switch@.service 0644
deploy/systemd/quantum-clm.sysusers.conf /etc/sysusers.d/quantum-clm.conf 0644
deploy/systemd/quantum-clm.tmpfiles.conf /etc/tmpfiles.d/quantum-clm.conf 0644
END
}

# The line of the switch is the installer's own; a file that differs in no other is nobody's work.
same_settings() { cmp -s <(sed 's/^#\?CLM_SWITCH=.*//' "$1" 2>/dev/null) <(sed 's/^#\?CLM_SWITCH=.*//' "$2" 2>/dev/null); }

RULES=/etc/polkit-1/rules.d/50-quantum-clm.rules

# The engine's environment file becomes a plain file again, root's as the others in /etc/quantum.
take_back_env_file() {
  local file=${DESTDIR-}/etc/quantum/ai-engine.env target mode
  target=${DESTDIR-}/etc/quantum/ai-engine.d/ai-engine.env
  [[ -L $file && $(readlink -f "$file") == "$(readlink -f "$target")" && -f $target ]] || return 0
  mode=$(stat -c %a "$target")
  install -m "$mode" -o root -g qt "$target" "$file.tmp"
  sync "$file.tmp"
  mv -T "$file.tmp" "$file"
  rm -f "$target" "$target.clm-previous"
  rmdir "${target%/*}" 2>/dev/null || true
  say "$file is a plain file of root's again"
}
