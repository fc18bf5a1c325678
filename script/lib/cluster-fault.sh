# The faults of script/cluster, and the drills that put a load on the cloud meanwhile; sourced there.

# kill_part HOST NAME: SIGKILL; its keeper starts it again after a second.
kill_part() {
  local pid
  pid=$(cat "$base/$1/state/$2.pid" 2>/dev/null) || die "$2 does not run on $1" "script/cluster status"
  kill -KILL "$pid"
}

# links HOST up|down: all of its networks but the external one.
links() {
  local port prefix=${1:0:4}${1: -1}-
  for port in $(ip -n "$(ns switch)" -o link | awk -F'[ :@]+' -v h="$prefix" 'index($2, h) == 1 && $2 !~ /exte$/ {print $2}'); do
    ip -n "$(ns switch)" link set "$port" "$2"
  done
}

# cut_off HOST SECONDS: nothing goes in or out.
cut_off() {
  links "$1" down
  sleep "$2"
  links "$1" up
}

# held HOST SECONDS: what of the host dies now stays dead for so long.
held() {
  sleep "$2"
  rm -f "$base/$1/hold"
}

# lose HOST SECONDS: it is gone from one moment to the next, as with its power; then it comes back, and knows no address but
# its own.
lose() {
  touch "$base/$1/hold"
  links "$1" down
  kill_all "$1"
  sleep "$2"
  ip -n "$(ns "$1")" addr del "$vip/32" dev eth0 2>/dev/null || true
  links "$1" up
  rm -f "$base/$1/hold"
}

stop_engine() { end "$(cat "$base/infra/$1.pid")" 20; for p in $(processes infra); do case $(tr '\0' ' ' <"/proc/$p/cmdline" 2>/dev/null) in *"$2"*) kill -KILL "$p" 2>/dev/null || true ;; esac; done; }

# fault NAME [SECONDS]
fault() {
  local name=${1:-} seconds=${2:-} h before
  before=$(holder)
  say "$(date +%T) $name"
  case $name in
    kill-haproxy)
      touch "$base/$before/hold"
      kill_named "$before" haproxy
      held "$before" "${seconds:-10}" ;;
    kill-keepalived)
      touch "$base/$before/hold"
      kill_named "$before" keepalived
      held "$before" "${seconds:-10}" ;;
    kill-controller) for h in "$base/$before/state/"*.pid; do kill -KILL "$(cat "$h")" 2>/dev/null || true; done ;;
    stop-controller) for h in "$base/$before/state/"*.pid; do kill -TERM "$(cat "$h")" 2>/dev/null || true; done ;;
    lose-controller) lose "$before" "${seconds:-20}" ;;
    kill-compute) kill_part compute1 "$([ -n "$split" ] && echo nova-compute || echo ferrostack)" ;;
    kill-network) kill_part network1 "$(basename "$(ls "$base/network1/state/"*.pid | head -n 1)" .pid)" ;;
    kill-storage) kill_part storage1 "$([ -n "$split" ] && echo cinder-volume || echo ferrostack)" ;;
    kill-galera)
      h=$(writer) || die "there is no Galera here" "script/cluster up --galera starts three nodes"
      say "  $h wrote"
      touch "$base/$h/hold"
      kill_named "$h" mariadbd
      held "$h" "${seconds:-20}" ;;
    lose-galera)
      h=$(writer) || die "there is no Galera here" "script/cluster up --galera starts three nodes"
      say "  $h wrote"
      lose "$h" "${seconds:-20}" ;;
    kill-*)
      [ -n "$split" ] || die "all services of a host are one process here" "script/cluster up --split gives each its own"
      for h in "$before" compute1 network1 storage1; do
        if [ -e "$base/$h/state/${name#kill-}.pid" ]; then kill_part "$h" "${name#kill-}"; return; fi
      done
      die "no host runs ${name#kill-}" "script/cluster status" ;;
    restart-rabbitmq) stop_engine rabbitmq beam.smp; infra_rabbitmq ;;
    restart-mariadb)
      [ -z "$galera" ] || die "there are three of it here" "script/cluster fault kill-galera"
      stop_engine mariadb mariadbd; infra_mariadb ;;
    drop-memcached) stop_engine memcached memcached; sleep "${seconds:-20}"; infra_memcached ;;
    partition-compute) cut_off compute1 "${seconds:-60}" ;;
    partition-network) cut_off network1 "${seconds:-60}" ;;
    *) die "there is no fault '$name'" "script/cluster --help" ;;
  esac
  say "$(date +%T) $name is over"
  [ "$(holder)" = "$before" ] || say "  the virtual address went from $before to $(holder)"
}

# drill [FAULT...]: each fault under a load of boots and deletes, and what it cost.
drill() {
  local name pid code bad=0 before faults=("$@")
  [ ${#faults[@]} -gt 0 ] || faults=(none kill-haproxy kill-keepalived kill-controller stop-controller lose-controller
    kill-compute kill-network kill-storage restart-rabbitmq
    $([ -n "$galera" ] && echo kill-galera lose-galera || echo restart-mariadb) drop-memcached partition-compute partition-network)
  mkdir -p "$base/drill"
  printf '%-26s %6s %8s %7s %6s %11s %7s %12s %7s  %s\n' fault boots deletes refused gets failed_gets errors without_s calm_s address
  for name in "${faults[@]}"; do
    rm -f "$base/drill/"{ready,result}
    before=$(holder)
    run_on client "$cache/client/bin/python" "$root/script/lib/cluster_load.py" >"$base/drill/result" 2>"$base/drill/ready" &
    pid=$!
    until grep -q ready "$base/drill/ready" 2>/dev/null; do
      kill -0 "$pid" 2>/dev/null || { cat "$base/drill/ready" >&2; die "the load does not start" "script/cluster status"; }
      sleep 0.2
    done
    sleep 5
    [ "$name" = none ] || fault "$name" ${drill_seconds:-} 2>>"$base/drill/faults.log"
    sleep 10
    # The load is nsenter's child.
    pkill -TERM -P "$pid" 2>/dev/null || kill -TERM "$pid"
    code=0
    wait "$pid" || code=$?
    [ $code = 0 ] || bad=1
    python3 - "$name" "$base/drill/result" "$([ "$(holder)" = "$before" ] && echo "stays" || echo "$before to $(holder)")" <<'PY'
import json, sys
r = json.load(open(sys.argv[2]))
print(f"{sys.argv[1]:<26} {r['boots']:6} {r['deletes']:8} {r['refused']:7} {r['gets']:6} {r['failed_gets']:11} {r['errors']:7}"
      f" {r['without_service_s']:12} {r['calm_after_s']:7}  {sys.argv[3]}")
for reason in r["error_reasons"]:
    print(f"    in ERROR because: {reason}")
for problem in r["problems"]:
    print(f"    PROBLEM: {problem}")
PY
  done
  return $bad
}
