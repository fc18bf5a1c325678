# How tests that are told by scripts count and tell their steps; `source`d after script/lib.sh by who sets $out, a file for the
# output of the step that runs.
passed=0 failed=0

# check WORDS COMMAND...: one step; a failure is told with the end of its output, and the story goes on where it can.
check() {
  local words=$1 start
  shift
  start=$(date +%s%N)
  if "$@" >"$out" 2>&1; then
    passed=$((passed + 1))
    printf '  ok   %-66s%7.1f s\n' "$words" "$(seconds_since "$start")"
  else
    failed=$((failed + 1))
    printf '  FAIL %-66s%7.1f s\n' "$words" "$(seconds_since "$start")"
    sed 's/^/       /' "$out" | tail -n 40
    return 1
  fi
}
# need WORDS COMMAND...: a step without which the others mean nothing.
need() { check "$@" || exit 1; }
# within SECONDS COMMAND...: tries until it succeeds.
within() {
  local until=$((SECONDS + $1))
  shift
  until "$@"; do
    [ $SECONDS -lt $until ] || return 1
    sleep 0.5
  done
}
# equal GOT WANTED
equal() { [ "$1" = "$2" ] || { echo "'$1', not '$2'"; return 1; }; }
# count_up CODE: the last words of a story that ended with this code; whether all is well.
count_up() {
  [ "$1" -eq 0 ] || failed=$((failed + 1))
  echo "$passed passed, $failed failed"
  [ $failed -eq 0 ]
}
