#!/bin/bash
# The demo: an agent of its own, two deployments and a rollback of a small web server in real containers, while a load
# generator opens new connections all the time. Exits 0 if not a single one failed. Leaves nothing behind.
set -u
cd "$(dirname "$0")/.." || exit 1
build=$(realpath "${TEAL_BUILD:-build}")

if [ "$(id -u)" != 0 ]; then
	cat >&2 <<-'WHY'
	make demo: needs root. It starts real containers with a private network each (namespaces, a bridge, cgroups), which an
	ordinary user may not make. Run it as root; it works in a directory of its own below /tmp and takes it away again.
	WHY
	exit 77
fi

root=$(mktemp -d /tmp/teal-demo.XXXXXX) || exit 1
chmod 755 "$root"
spec=$root/hello.yaml
agent_pid= load_pid= finished=

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
[ -t 1 ] || say() { printf '\n%s\n' "$*"; }
show() { printf '   $ %s\n' "$*"; }
indent() { sed 's/^/   /'; }
teal() { "$build/teal" --root "$root" "$@"; }

give_up() {
	echo >&2
	echo "demo: $*" >&2
	if [ -s "$root/teald.log" ]; then
		echo "demo: the agent's last words:" >&2
		tail -n 20 "$root/teald.log" >&2
	fi
	exit 1
}

cleanup() {
	[ -n "$load_pid" ] && kill "$load_pid" 2>/dev/null
	if [ -n "$agent_pid" ]; then
		[ -n "$finished" ] || teal rm hello >/dev/null 2>&1
		kill "$agent_pid" 2>/dev/null
		wait "$agent_pid" 2>/dev/null
	fi
	rm -rf "$root"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

# A port on loopback that nobody has: the demo must not depend on 8080 being free.
free_port() {
	local port
	for port in 8080 $(seq 18080 18179); do
		(exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || { echo "$port"; return; }
	done
}

# Runs a verb that deploys, shows its progress, keeps its result.
deploy() {
	show "teal $* "
	result=$(teal -o json "$@" 2> >(indent >&2)) || give_up "teal $1 failed: $(jq -r '.comment // .' <<<"$result" 2>/dev/null)"
	jq -r '"   \(.comment); traffic moved in \((.flip_us // 0) / 1000) ms, the whole took \(.duration_ms) ms"' <<<"$result"
}

answer() {
	show "curl $url"
	curl -sS --max-time 5 "$url" | indent
}

set_version() { sed -i "s/VERSION: \"[^\"]*\"/VERSION: \"$1\"/" "$spec"; }

port=$(free_port)
url=http://127.0.0.1:$port/
sed -e "s|rootfs:../build/|rootfs:$build/|" -e "s|8080:8080|127.0.0.1:$port:8080|" examples/hello.yaml >"$spec"

say "1. An agent in a directory of its own"
show "teald --root $root &"
"$build/teald" --root "$root" >"$root/teald.log" 2>&1 </dev/null &
agent_pid=$!
for _ in $(seq 200); do
	teal version >/dev/null 2>&1 && break
	kill -0 "$agent_pid" 2>/dev/null || give_up "teald ended at once"
	sleep 0.05
done
teal version >/dev/null || give_up "teald does not answer"

say "2. The first deployment: version 1"
deploy apply "$spec"
answer

say "3. Load: 16 clients, a new connection for every request"
show "wrk -c16 -H 'Connection: close' $url &"
wrk -t2 -c16 -d300s --timeout 10s -H 'Connection: close' "$url" >"$root/wrk.txt" 2>&1 &
load_pid=$!

say "4. The second deployment, under load: version 2"
set_version 2
show "teal plan hello.yaml"
teal plan "$spec" | indent
deploy apply "$spec"
answer

say "5. Back to version 1, under load"
deploy rollback hello
answer

say "6. The same file again: teal refuses what was just rolled back"
show "teal apply hello.yaml"
teal apply "$spec" 2>&1 | indent
[ "${PIPESTATUS[0]}" = 5 ] || give_up "that should have been refused with exit 5"

say "7. What there is now"
show "teal status hello"
teal status hello | indent

kill -INT "$load_pid"
wait "$load_pid"
load_pid=
requests=$(sed -nE 's/^ *([0-9]+) requests in.*/\1/p' "$root/wrk.txt")
errors=$(sed -nE 's/.*Socket errors: connect ([0-9]+), read ([0-9]+), write ([0-9]+), timeout ([0-9]+).*/\1 \2 \3 \4/p' "$root/wrk.txt")
bad=$(sed -nE 's/.*Non-2xx or 3xx responses: ([0-9]+).*/\1/p' "$root/wrk.txt")
failed=0
for n in $errors $bad; do failed=$((failed + n)); done

say "8. Everything away again"
show "teal rm hello"
teal rm hello 2>&1 | indent
finished=1

say "connections: ${requests:-0}   failed: $failed"
[ "${requests:-0}" -gt 0 ] || give_up "the load generator made no request: $(cat "$root/wrk.txt")"
[ "$failed" = 0 ] || give_up "connections failed: $(cat "$root/wrk.txt")"
