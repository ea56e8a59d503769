#!/bin/sh
# Installs the built programs, their short names, and the service files. It starts nothing and creates no user: what
# is left to do is printed at the end. Running it again replaces what it installed; an existing configuration stays.
#
#   contrib/install.sh                     into /usr/local and /etc
#   PREFIX=/usr contrib/install.sh         into /usr and /etc
#   DESTDIR=/tmp/pkg contrib/install.sh    the same, below another root (for packages)
#   BINARIES=target/debug contrib/install.sh   other binaries than target/release
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
prefix=${PREFIX:-/usr/local}
sysconfdir=${SYSCONFDIR:-/etc}
destdir=${DESTDIR:-}
binaries=${BINARIES:-${CARGO_TARGET_DIR:-$here/../target}/release}
bin=$destdir$prefix/bin

for program in uftd uft sendfile; do
    if [ ! -x "$binaries/$program" ]; then
        echo "install.sh: $binaries/$program: no such program; run 'cargo build --release' first" >&2
        exit 1
    fi
done

install -d "$bin"
install -m 755 "$binaries/uftd" "$binaries/uft" "$binaries/sendfile" "$bin"
# Called by one of these names, uft acts as that command.
for name in rls rcv rrm rstat tell cpq sf; do
    ln -sfn uft "$bin/$name"
done

share=$destdir$prefix/share
lib=$destdir$prefix/lib
install -d "$share/doc/uft" "$lib/systemd/system" "$lib/sysusers.d" "$lib/tmpfiles.d"
install -m 644 "$here/../README.md" "$here/../CHANGELOG.md" "$here/uftd.toml" "$share/doc/uft"
install -m 644 "$here"/../docs/*.md "$share/doc/uft"
install -m 644 "$here/sysusers.conf" "$lib/sysusers.d/uft.conf"
install -m 644 "$here/tmpfiles.conf" "$lib/tmpfiles.d/uft.conf"
sed -e "s|/usr/local/|$prefix/|" -e "s|/etc/uft/|$sysconfdir/uft/|" "$here/uftd.service" \
    > "$lib/systemd/system/uftd.service"
chmod 644 "$lib/systemd/system/uftd.service"

install -d "$share/man/man1" "$share/bash-completion/completions"
if ! "$binaries/uft" man "$share/man/man1"; then
    echo "install.sh: manual pages are not installed: 'uft man' failed" >&2
else
    install -d "$share/man/man8"
    mv -f "$share/man/man1/uftd.8" "$share/man/man8/"
fi
for program in uft sendfile; do
    script=$share/bash-completion/completions/$program
    if ! "$binaries/uft" completions bash "$program" > "$script"; then
        rm -f "$script"
        echo "install.sh: no completions for $program: 'uft completions' failed" >&2
    fi
done

config=$destdir$sysconfdir/uft/uftd.toml
if [ -e "$config" ]; then
    echo "install.sh: $config: kept as it is; this release's example is $prefix/share/doc/uft/uftd.toml"
else
    install -d "$destdir$sysconfdir/uft"
    install -m 644 "$here/uftd.toml" "$config"
fi

cat <<END
install.sh: installed into $bin. To run uftd as a service:
  systemd-sysusers && systemd-tmpfiles --create uft.conf
  systemctl daemon-reload && systemctl enable --now uftd
END
