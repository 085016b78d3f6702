# What install.sh puts where, and uninstall.sh takes away: source, target, mode.
# shellcheck shell=bash
installed_files() {
  cat <<END
deploy/systemd/quantum-clm.service /etc/systemd/system/quantum-clm.service 0644
deploy/systemd/quantum-clm.sysusers.conf /etc/sysusers.d/quantum-clm.conf 0644
deploy/systemd/quantum-clm.tmpfiles.conf /etc/tmpfiles.d/quantum-clm.conf 0644
END
}
