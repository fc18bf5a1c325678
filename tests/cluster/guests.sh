#!/bin/bash
# tests/cluster/guests.sh: faults under real guests.
#
# `script/cluster up --split` with a guest on each of two computes; then SIGKILL to nova-compute, to the compute's L2 agent, to the
# network host's agents, to a controller; the loss of the controller that has the virtual address; the compute and the network
# host cut off for 60 s. After each the guest must be the one that it was (same boot), answer ssh by its floating address, and be
# ACTIVE; pings tell for how long it did not answer. A guest that is deleted while its host is cut off must be gone when the host
# is back. At the end nothing may be left. Needs root, and about 12 minutes. Prints last 'N passed, N failed'.
set -euo pipefail
source "$(dirname "$0")/../../script/lib.sh"
[ "$(id -u)" = 0 ] || die "hosts made of namespaces need root" "run as root"
scratch=$(mktemp -d "${TMPDIR:-/tmp}/ferrostack-guests.XXXXXX")
passed=0 failed=0
cloud=$root/script/cluster

check() {
  local words=$1 start
  shift
  start=$(date +%s%N)
  if "$@" >"$scratch/out" 2>&1; then
    passed=$((passed + 1))
    printf '  ok   %-66s%7.1f s\n' "$words" "$(seconds_since "$start")"
  else
    failed=$((failed + 1))
    printf '  FAIL %-66s%7.1f s\n' "$words" "$(seconds_since "$start")"
    sed 's/^/       /' "$scratch/out" | tail -n 20
    return 1
  fi
}
need() { check "$@" || exit 1; }
within() {
  local until=$((SECONDS + $1))
  shift
  until "$@"; do
    [ $SECONDS -lt $until ] || return 1
    sleep 1
  done
}
finish() {
  local code=$?
  trap - EXIT INT TERM
  check "script/cluster down" "$cloud" down || true
  rm -rf "$scratch"
  [ $code -eq 0 ] || failed=$((failed + 1))
  echo "$passed passed, $failed failed"
  [ $failed -eq 0 ]
}
trap finish EXIT
trap 'exit 130' INT TERM

client() { "$cloud" exec client -- "$@"; }
admin() { client openstack "$@"; }
demo() { OS_CLOUD=ferrostack-demo client openstack "$@"; }
value() { "${@:2}" -f value -c "$1"; }
equal() { [ "$1" = "$2" ] || { echo "'$1', not '$2'"; return 1; }; }
guest() { client ssh -q -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o ConnectTimeout=5 \
  -i /var/lib/ferrostack/demo_key "cirros@$1" "${@:2}" </dev/null; }
boot_of() { guest "$1" cat /proc/sys/kernel/random/boot_id; }
active() { [ "$(value status admin server show "$1")" = ACTIVE ]; }
# The guests of a host, by their processes.
guests() { local p n=0; for p in $("$cloud" exec "$1" -- pgrep -f '^/usr/bin/qemu-system' 2>/dev/null); do
  [ "$(readlink "/proc/$p/ns/uts")" = "$("$cloud" exec "$1" -- readlink /proc/self/ns/uts)" ] && n=$((n + 1)); done; echo $n; }
has_guests() { equal "$(guests "$1")" "$2"; }
all_up() { ! admin compute service list -f value -c State | grep -v up && ! admin network agent list -f value -c Alive | grep -v True; }

need "script/cluster up --split" "$cloud" up --split
need "a second server" demo server create second --image cirros --flavor m1.nano --network demo-net --key-name demo --wait
second=$(value floating_ip_address demo floating ip create public)
need "its floating address" demo server add floating ip second "$second"
first=$(value floating_ip_address demo floating ip list | grep -v "^$second$" | head -n 1)
need "ssh to the second" within 300 boot_of "$second"
on_first=$(value OS-EXT-SRV-ATTR:host admin server show first --all-projects 2>/dev/null || value OS-EXT-SRV-ATTR:host admin server show "$(value ID demo server list --name first)")
if [ "$on_first" = compute1 ]; then name=first address=$first; else name=second address=$second; fi
id=$(value ID demo server list --name "^$name\$")
need "one guest on each compute" has_guests compute1 1
boot=$(boot_of "$address")
echo "  the guest that is watched: $name, $address, on compute1"

# strike FAULT [SECONDS]: the fault, while the guest is pinged five times a second.
strike() {
  local lost
  client ping -i 0.2 -W 1 -O "$address" >"$scratch/ping" 2>&1 &
  local pid=$!
  sleep 2
  check "$*" "$cloud" fault "$@" || true
  check "  ssh answers, and it is the same boot" within 120 same_boot || true
  check "  the server is ACTIVE" within 60 active "$id" || true
  check "  services and agents are up" within 120 all_up || true
  pkill -INT -P $pid 2>/dev/null || kill -INT $pid 2>/dev/null || true
  wait $pid 2>/dev/null || true
  lost=$(awk '/packets transmitted/ {print ($1 - $4) * 0.2}' "$scratch/ping")
  printf '       %s: no answer to pings for %s s\n' "$1" "$lost"
}
same_boot() { equal "$(boot_of "$address")" "$boot"; }

strike kill-nova-compute
strike kill-neutron-linuxbridge-agent
strike kill-network
strike kill-storage
strike kill-controller
strike lose-controller
need "a third server on compute1" admin --os-compute-api-version 2.74 server create third --image cirros --flavor m1.nano \
  --network "$(value id admin network show demo-net)" --host compute1 --wait
check "it is there" has_guests compute1 2 || true
cut_and_delete() {
  "$cloud" fault partition-compute 60 &
  sleep 15
  admin server delete third
  wait $!
}
client ping -i 0.2 -W 1 -O "$address" >"$scratch/ping" 2>&1 &
ping=$!
check "partition-compute 60, and the third server is deleted meanwhile" cut_and_delete || true
check "  ssh answers, and it is the same boot" within 120 same_boot || true
check "  the server is ACTIVE" within 60 active "$id" || true
third_gone() { ! admin server list --all-projects -f value -c Name | grep -qx third; }
check "  the third server is gone" within 120 third_gone || true
check "  its guest, too" within 120 has_guests compute1 1 || true
check "  services and agents are up" within 120 all_up || true
pkill -INT -P $ping 2>/dev/null || kill -INT $ping 2>/dev/null || true
wait $ping 2>/dev/null || true
echo "       partition-compute: no answer to pings for $(awk '/packets transmitted/ {print ($1 - $4) * 0.2}' "$scratch/ping") s"
strike partition-network 60

check "servers deleted" demo server delete first second --wait || true
no_ports() { equal "$(admin port list --device-owner compute:nova -f value)" ""; }
check "no port of a server is left" within 60 no_ports || true
check "no guest on compute1" within 60 has_guests compute1 0 || true
check "no guest on compute2" within 60 has_guests compute2 0 || true
taps() { equal "$("$cloud" exec "$1" -- ip -o link | grep -c ' tap' || true)" 0; }
check "no tap device on compute1" within 60 taps compute1 || true
check "no tap device on compute2" within 60 taps compute2 || true
used() { equal "$(for p in $(admin resource provider list -f value -c uuid); do admin resource provider show --allocations "$p" -f value -c allocations; done | grep -v '^{}$' || true)" ""; }
check "no allocation" used || true
