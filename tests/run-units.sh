#!/bin/sh
# run-units.sh PROGRAM…: runs each test program; silent output for those that pass, all of it for those that fail.
set -u
limit=${UNIT_SECONDS:-120}
log=$(mktemp)
trap 'rm -f "$log"' EXIT
export ASAN_OPTIONS=detect_leaks=1:strict_string_checks=1 UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1
export TSAN_OPTIONS=halt_on_error=1
failed=0
for program; do
	if timeout "$limit" "$program" >"$log" 2>&1 </dev/null; then
		skipped=$(grep -c '\[  SKIPPED \]' "$log")
		echo "ok    $program: $(grep -c '\[       OK \]' "$log") passed$([ "$skipped" = 0 ] || echo ", $skipped lines of skipped")"
		grep -h '^skip: ' "$log"
	else
		echo "FAIL  $program (status $?)"
		cat "$log"
		failed=$((failed + 1))
	fi
done
[ "$failed" = 0 ] || echo "$failed test programs failed" >&2
exit "$((failed > 0))"
