#!/bin/sh
# deps.sh PACKAGE…: installs the Debian packages among these that are missing. Quiet when none is.
set -u
missing=
for package; do
	case $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) in
	installed) ;;
	*) missing="$missing $package" ;;
	esac
done
[ -n "$missing" ] || exit 0

if ! command -v apt-get >/dev/null; then
	echo "make deps: this system has no apt-get. Install what these Debian packages hold:$missing" >&2
	exit 1
fi
if [ "$(id -u)" != 0 ]; then
	echo "make deps: only root can install packages. As root, run:" >&2
	echo "  apt-get install$missing" >&2
	exit 1
fi
echo "installing:$missing"
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# The lists may be absent or old: refresh them before the first try, and only for what is missing.
if ! { apt-get update -q && apt-get install -q -y --no-install-recommends $missing; } >"$log" 2>&1 </dev/null; then
	tail -n 20 "$log" >&2
	echo "make deps: apt-get failed (its last lines are above)" >&2
	exit 1
fi
