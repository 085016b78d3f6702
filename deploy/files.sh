# What install.sh puts where and uninstall.sh removes: source, target, mode; and what both have to undo.
# shellcheck shell=bash
HOME_DIR=/usr/lib/quantum-clm
OLD_HOME=/opt/quantum/clm                              # of the first versions, in a directory that qt may own
OLD_RULES=/etc/polkit-1/rules.d/50-quantum-clm.rules   # of the first versions; no rule is needed any more

installed_files() {
  cat <<END
deploy/systemd/quantum-clm.service /etc/systemd/system/quantum-clm.service 0644
deploy/systemd/quantum-clm-switch.socket /etc/systemd/system/quantum-clm-switch.socket 0644
deploy/systemd/quantum-clm-switch@.service /etc/systemd/system/quantum-clm-switch@.service 0644
deploy/systemd/quantum-clm.sysusers.conf /etc/sysusers.d/quantum-clm.conf 0644
deploy/systemd/quantum-clm.tmpfiles.conf /etc/tmpfiles.d/quantum-clm.conf 0644
clm/switch/__main__.py $HOME_DIR/switch/__main__.py 0644
END
  # All code that the root helper runs besides Python's standard library.
  local module
  for module in __init__ clock errors artefacts/__init__ artefacts/files domain/__init__ domain/line \
    engine/__init__ engine/directory_lock engine/env_file engine/env_grammar engine/rewrite \
    engine/switch_request engine/systemctl switch/__init__ switch/__main__ switch/connection \
    switch/helper switch/models switch/paths switch/site switch/trust switch/unit; do
    echo "clm/$module.py $HOME_DIR/switch/clm/$module.py 0644"
  done
}

same_settings() {  # same_settings A B: but for the line of a setting that the installer itself used to write
  cmp -s <(sed 's/^#\?CLM_SWITCH=.*//' "$1" 2>/dev/null) <(sed 's/^#\?CLM_SWITCH=.*//' "$2" 2>/dev/null)
}

weakness() { /usr/bin/python3 -I -S "$PROJECT/clm/switch/trust.py" "$@" 2>&1; }  # weakness --path|--below PATH

# A first version could move the engine's environment file into a directory of qt's.
take_back_env_file() {
  local file=/etc/quantum/ai-engine.env directory=/etc/quantum/ai-engine.d said
  [[ -z ${DESTDIR-} && -L $file && $(readlink "$file") =~ ^(/etc/quantum/)?ai-engine\.d/ ]] || return 0
  said=$(/usr/bin/python3 -I -B "$PROJECT/deploy/rootfiles.py" take-back "$file" "$directory" qt) ||
    die "$file still leads into $directory, which qt owns; make it a plain file of root's by hand"
  say "$said"
  rm -f "$directory"/ai-engine.env{,.clm-previous}
  rmdir "$directory" 2>/dev/null || say "left $directory, which is not empty"
}

remove_first_version() {  # its polkit rule and its directory; a foreign rule that it replaced comes back
  local rules=${DESTDIR-}$OLD_RULES
  if grep -qs 'quantum-clm: put here by deploy/install.sh' "$rules"; then
    rm -f "$rules"
    [[ ! -e $rules.replaced ]] || mv -T "$rules.replaced" "$rules"
    say "removed $OLD_RULES"
  fi
  # Only what the first installer made: a source tree may lie there as well.
  if [[ -z ${DESTDIR-} && ! -L $OLD_HOME && -f $OLD_HOME/clm.env.shipped && $PROJECT/ != $OLD_HOME/* ]]; then
    rm -rf --one-file-system "$OLD_HOME"
    say "removed $OLD_HOME"
  fi
}
