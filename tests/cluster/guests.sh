#!/bin/bash
# tests/cluster/guests.sh [OPTION…]: faults under real guests; the options are those of `script/cluster up`.
#
# `script/cluster up --split` with a guest on each of two computes; then SIGKILL to nova-compute, to the compute's L2 agent, to the
# network host's agents, to a controller; the loss of the controller that has the virtual address; the compute and the network
# host cut off for 60 s. After each the guest must be the one that it was (same boot), answer ssh by its floating address, and be
# ACTIVE; pings tell for how long it did not answer. A guest that is deleted while its host is cut off must be gone when the host
# is back. At the end nothing may be left. Needs root, and about 12 minutes. Prints last 'N passed, N failed'.
set -euo pipefail
source "$(dirname "$0")/../../script/lib.sh"
source "$root/script/lib/story.sh"
[ "$(id -u)" = 0 ] || die "hosts made of namespaces need root" "run as root"
scratch=$(mktemp -d "${TMPDIR:-/tmp}/ferrostack-guests.XXXXXX")
out=$scratch/out
cloud=$root/script/cluster

finish() {
  local code=$?
  trap - EXIT INT TERM
  check "script/cluster down" "$cloud" down || true
  rm -rf "$scratch"
  count_up $code
}
trap finish EXIT
trap 'exit 130' INT TERM

client() { "$cloud" exec client -- "$@"; }
admin() { client openstack "$@"; }
demo() { OS_CLOUD=ferrostack-demo client openstack "$@"; }
value() { "${@:2}" -f value -c "$1"; }
guest() { client ssh -q -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o ConnectTimeout=5 \
  -i /var/lib/ferrostack/demo_key "cirros@$1" "${@:2}" </dev/null; }
boot_of() { guest "$1" cat /proc/sys/kernel/random/boot_id; }
active() { [ "$(value status admin server show "$1")" = ACTIVE ]; }
# has_guests HOST N: by their processes.
has_guests() {
  local uts p n=0
  uts=$("$cloud" exec "$1" -- readlink /proc/self/ns/uts) || return
  for p in $(pgrep -f '^/usr/bin/qemu-system'); do [ "$(readlink "/proc/$p/ns/uts")" != "$uts" ] || n=$((n + 1)); done
  equal $n "$2"
}
# only WORD COMMAND...: it prints lines, and all of them are this word.
only() {
  local got
  got=$("${@:2}") && [ -n "$got" ] || return 1
  ! grep -vx "$1" <<<"$got"
}
nothing() { local got; got=$("$@") && equal "$got" ""; }
all_up() { only up admin compute service list -f value -c State && only True admin network agent list -f value -c Alive; }

need "script/cluster up --split $*" "$cloud" up --split "$@"
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

# ping_on, ping_off WORDS: five pings a second to the guest; how many of them had no answer.
ping_on() {
  client sh -c 'echo $$ >/var/lib/ferrostack/ping.pid; exec ping -i 0.2 -W 1 -O "$1"' ping "$address" >"$scratch/ping" 2>&1 &
  pinger=$!
}
ping_off() {
  kill -INT "$(client cat /var/lib/ferrostack/ping.pid)"
  wait $pinger 2>/dev/null || true
  awk -v w="$1" '/packets transmitted/ {printf "       %s: no answer to pings for %.1f s of %.1f\n", w, ($1 - $4) * 0.2, $1 * 0.2}' "$scratch/ping"
}

# strike FAULT [SECONDS]: the fault, while the guest is pinged five times a second.
strike() {
  ping_on
  sleep 2
  check "$*" "$cloud" fault "$@" || true
  check "  ssh answers, and it is the same boot" within 120 same_boot || true
  check "  the server is ACTIVE" within 60 active "$id" || true
  check "  services and agents are up" within 120 all_up || true
  ping_off "$1"
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
ping_on
check "partition-compute 60, and the third server is deleted meanwhile" cut_and_delete || true
check "  ssh answers, and it is the same boot" within 120 same_boot || true
check "  the server is ACTIVE" within 60 active "$id" || true
third_gone() { only 'first\|second' admin server list --all-projects -f value -c Name; }
check "  the third server is gone" within 120 third_gone || true
check "  its guest, too" within 120 has_guests compute1 1 || true
check "  services and agents are up" within 120 all_up || true
ping_off partition-compute
strike partition-network 60

check "servers deleted" demo server delete first second --wait || true
check "no port of a server is left" within 60 nothing admin port list --device-owner compute:nova -f value || true
check "no guest on compute1" within 60 has_guests compute1 0 || true
check "no guest on compute2" within 60 has_guests compute2 0 || true
taps() { local got; got=$("$cloud" exec "$1" -- ip -o link) && ! grep ' tap' <<<"$got"; }
check "no tap device on compute1" within 60 taps compute1 || true
check "no tap device on compute2" within 60 taps compute2 || true
used() {
  local p all
  all=$(admin resource provider list -f value -c uuid) && [ -n "$all" ] || return 1
  for p in $all; do only '{}' admin resource provider show --allocations "$p" -f value -c allocations || return 1; done
}
check "no allocation" used || true
