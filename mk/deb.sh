#!/bin/sh
# Makes $BUILD/teal_VERSION_ARCH.deb of what `make install` installs. Called by `make deb`.
set -eu
arch=$(dpkg --print-architecture)
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT

$MAKE -s BUILD="$BUILD" DESTDIR="$root/teal" install
strip "$root"/teal/usr/bin/* "$root"/teal/usr/lib/teal/*

# dpkg-shlibdeps names the packages of the libraries; it insists on a source package around it.
mkdir -p "$root/debian" "$root/teal/DEBIAN"
echo "Source: teal" >"$root/debian/control"
libraries=$(cd "$root" && dpkg-shlibdeps -O --ignore-missing-info teal/usr/bin/teal teal/usr/lib/teal/teald \
	teal/usr/lib/teal/teal-proxy teal/usr/lib/teal/teal-unpack 2>/dev/null | sed 's/^shlibs:Depends=//')

cat >"$root/teal/DEBIAN/control" <<CONTROL
Package: teal
Version: $VERSION
Architecture: $arch
Maintainer: The teal authors
Section: admin
Priority: optional
Depends: $libraries, nftables, iproute2
Description: immutable deployments: new generation, health check, flip, rollback
 teald starts a new generation of a service beside the running one, checks its health, moves new connections to it
 without losing any, and keeps the old one at hand for a rollback in milliseconds.
CONTROL
dpkg-deb --root-owner-group --build "$root/teal" "$BUILD/teal_${VERSION}_$arch.deb"
