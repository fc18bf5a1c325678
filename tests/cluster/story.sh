#!/bin/bash
# tests/cluster/story.sh: a cloud of many hosts, by the unmodified `openstack` client.
#
# `script/cluster up --fake` (two controllers with HAProxy and keepalived, MariaDB, RabbitMQ, Memcached; the other hosts join with
# tickets), what the lists of services and agents say, a server booted and deleted from the host client, one drill (the
# controller that has the virtual address loses all of Ferrostack), `script/cluster down`; then nothing may be left of it. Needs
# root. FERROSTACK_BINARY names a program that is built already. Prints a line with the time of each step, and last
# 'N passed, N failed'.
set -euo pipefail
source "$(dirname "$0")/../../script/lib.sh"
source "$root/script/lib/story.sh"

[ "$(id -u)" = 0 ] || die "hosts made of namespaces need root" "run as root"
if ip netns list 2>/dev/null | grep -q '^fsc-'; then die "a cluster stands on this machine already" "script/cluster down"; fi
# A container may forbid what a host is made of; then this says what, and fails.
why=$(unshare --net --mount --uts --propagation private sh -c 'mount -t sysfs sysfs /sys && mount -t tmpfs tmpfs /run && hostname host' 2>&1) ||
  die "no namespaces here: $why" "network, mount and UTS namespaces, sysfs and tmpfs are needed: CAP_SYS_ADMIN and CAP_NET_ADMIN"

scratch=$(mktemp -d "${TMPDIR:-/tmp}/ferrostack-cluster-story.XXXXXX")
export FERROSTACK_CLUSTER=$scratch/cluster
out=$scratch/out

# The UTS namespaces of the cluster's hosts, by which its processes are known.
hosts_of_cluster() { local p; for p in "$FERROSTACK_CLUSTER"/*/pid; do readlink "/proc/$(cat "$p")/ns/uts"; done; }
# What is left of it on the machine, one thing a line.
left() {
  ip netns list | awk '/^fsc-/ {print "namespace " $1}'
  awk -v b="$scratch" 'index($2, b) == 1 {print "mount " $2}' /proc/mounts
  [ ! -e "$FERROSTACK_CLUSTER" ] || echo "files in $FERROSTACK_CLUSTER"
  local p words
  for p in /proc/[0-9]*; do
    words=$({ tr '\0' ' ' <"$p/cmdline"; } 2>/dev/null) || continue
    # What runs in one of its hosts, or speaks of its files.
    if grep -qxF "$(readlink "$p/ns/uts" 2>/dev/null)" "$scratch/hosts" 2>/dev/null || [[ $words = *"$FERROSTACK_CLUSTER"* ]]; then
      echo "process ${p#/proc/} ${words:0:100}"
    fi
  done
}

finish() {
  local code=$? more
  trap - EXIT INT TERM
  if [ "$failed" -gt 0 ] || [ $code -ne 0 ]; then
    say "--- the cluster's last words"
    grep -hE '"level":"(WARN|ERROR)"' "$FERROSTACK_CLUSTER"/*/state/logs/*.log 2>/dev/null | tail -n 20 | cut -c1-500 >&2 || true
    tail -n 3 "$FERROSTACK_CLUSTER"/*/log/*.keeper.log 2>/dev/null | cut -c1-300 >&2 || true
  fi
  check "script/cluster down" "$root/script/cluster" down || true
  more=$(left)
  check "nothing is left on the machine" test -z "$more" || printf '%s\n' "$more" | sed 's/^/    /' >&2
  rm -rf "$scratch"
  count_up $code
}
trap finish EXIT
trap 'exit 130' INT TERM

client() { "$root/script/cluster" exec client -- openstack "$@"; }
# lines WORDS N COMMAND...: the command prints N lines of these words.
lines() {
  local got
  got=$("${@:3}") || return
  [ "$(grep -cE "$1" <<<"$got")" = "$2" ] || { echo "not $2 lines of '$1' in:"; echo "$got"; return 1; }
}

need "script/cluster up --fake" "$root/script/cluster" up --fake --no-demo
hosts_of_cluster >"$scratch/hosts"
check "eight hosts, and processes in them" test "$(wc -l <"$scratch/hosts")" = 8 -a "$(left | grep -c ^process)" -gt 16 || true
need "both computes are up" lines '^nova-compute compute[12] enabled up$' 2 \
  client compute service list -f value -c Binary -c Host -c Status -c State
check "so are schedulers and conductors of both controllers" lines '^nova-(scheduler|conductor) controller[12] enabled up$' 4 \
  client compute service list -f value -c Binary -c Host -c Status -c State || true
check "network agents of three hosts are alive" lines '^(compute1|compute2|network1) True neutron-' 6 \
  client network agent list -f value -c Host -c Alive -c Binary || true
check "the storage host is up" lines '^cinder-volume storage1@[a-z0-9]+ up$' 1 \
  client volume service list --service cinder-volume -f value -c Binary -c Host -c State || true
no_way() { ! "$root/script/cluster" exec compute1 -- timeout 2 bash -c 'exec 3<>/dev/tcp/172.30.2.1/3306' 2>/dev/null; }
check "a compute has no way to the database" no_way || true
check "ferrostack status says that all is well" within 20 "$root/script/cluster" status || true

need "network create" client network create private
need "subnet create" client subnet create private --network private --subnet-range 192.168.77.0/24
need "server create --wait" client server create first --image cirros --flavor m1.nano --network private --wait
check "server delete --wait" client server delete first --wait || true
check "its port went with it" lines . 0 client port list --network private --device-owner compute:nova -f value || true
drill() { "$root/script/cluster" drill kill-controller | tee "$scratch/drill"; }
check "drill: a controller dies under load" drill || true
# Nothing lost, stuck or leaked is the drill's own exit code; this is what clients noticed.
no_failed_get() { awk '$1 == "kill-controller" {seen = 1; bad = $6} END {exit !(seen && bad == 0)}' "$scratch/drill" || { cat "$scratch/drill"; return 1; }; }
check "no GET failed" no_failed_get || true
cat "$scratch/drill" 2>/dev/null || true
