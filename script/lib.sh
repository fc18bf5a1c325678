# Shared by the scripts beside it; `source`d, never run.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cache=${FERROSTACK_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/ferrostack}

# Words for people go to stderr; what a program may want to read goes to stdout.
say() { printf '%s\n' "$*" >&2; }
die() {
  printf '%s: %s\n' "$(basename "$0")" "$1" >&2
  shift
  for line in "$@"; do printf '  %s\n' "$line" >&2; done
  exit 1
}

# step WORDS COMMAND...: runs a command silently, says how long it took; on failure shows its last lines and ends.
step() {
  local words=$1 start log
  shift
  start=$(date +%s%N)
  log=$(mktemp)
  printf '  %-58s' "$words" >&2
  if "$@" >"$log" 2>&1; then
    printf '%6.1f s\n' "$(seconds_since "$start")" >&2
    rm -f "$log"
  else
    printf ' failed\n' >&2
    grep -v '^WARNING' "$log" | tail -n 30 | sed 's/^/    /' >&2
    rm -f "$log"
    return 1
  fi
}

seconds_since() { awk -v a="$1" -v b="$(date +%s%N)" 'BEGIN { printf "%.1f", (b - a) / 1e9 }'; }

target=${CARGO_TARGET_DIR:-$root/target}

# Fills in $state, if it is empty.
default_state() {
  [ -n "$state" ] || state=${FERROSTACK_STATE:-}
  [ -n "$state" ] || if [ "$(id -u)" = 0 ]; then
    state=/var/lib/ferrostack
  else
    state=${XDG_DATA_HOME:-$HOME/.local/share}/ferrostack
  fi
}

# The process of the cloud on a state directory, if it runs. One that was killed and not yet reaped still has its name.
running_pid() {
  local pid
  pid=$(cat "$1/ferrostack.pid" 2>/dev/null) || return 0
  case $(sed -n 's/^State:[[:space:]]*\(.\).*/\1/p' "/proc/$pid/status" 2>/dev/null) in "" | Z | X) return 0 ;; esac
  case $(cat "/proc/$pid/comm" 2>/dev/null) in ferrostack*) echo "$pid" ;; esac
}

# build [--release]: builds the binary; its path is then in $binary. FERROSTACK_BINARY names one that is built already.
build() {
  local profile=debug
  if [ -n "${FERROSTACK_BINARY:-}" ]; then
    binary=$FERROSTACK_BINARY
    return
  fi
  [ "${1:-}" = --release ] && profile=release
  command -v cargo >/dev/null || die "cargo is not installed" \
    "install Rust: https://rustup.rs (the version is in rust-toolchain.toml)"
  step "building ($profile)" cargo build --manifest-path "$root/Cargo.toml" -q -p ferrostack "$@" ||
    die "the build failed" "the compiler's words are above; a missing C library is installed by script/install"
  binary=$target/$profile/ferrostack
}

# wait_ready PID OUTPUT SECONDS: until the cloud's first line, or until it ends.
wait_ready() {
  local pid=$1 output=$2 until=$((SECONDS + $3))
  until grep -q '"ready"' "$output" 2>/dev/null; do
    kill -0 "$pid" 2>/dev/null || return 1
    [ $SECONDS -lt $until ] || return 2
    sleep 0.05
  done
}

# url OUTPUT SERVICE: a service's address from the cloud's first line.
url() { python3 -c 'import json,sys; print(json.loads(open(sys.argv[1]).readline())["urls"].get(sys.argv[2], ""))' "$1" "$2"; }
