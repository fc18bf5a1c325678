#!/bin/bash
# tests/vm/story.sh: a real guest in a throw-away cloud, by the unmodified `openstack` client.
#
# Image, flavor, network, subnet, router, keypair, security group, server, floating address, ssh by key and by password,
# a volume attached, formatted and written in the guest, detached, console log, delete; then nothing may be left of it,
# neither in the APIs nor on the host. Needs root. FERROSTACK_BINARY names a program that is built already.
# With FAR_VOLUMES=1 the volume is another host's, as far as cinder knows: it comes over NBD, and both ends are killed.
# Prints a line with the time of each step, and last 'N passed, N failed'.
set -euo pipefail
source "$(dirname "$0")/../../script/lib.sh"
source "$root/script/lib/story.sh"

[ "$(id -u)" = 0 ] || die "a real guest needs root" "run as root"
build
image=$cache/guest/guest.qcow2
[ -s "$image" ] || "$root/script/guest-image" "$cache/guest" >/dev/null

state=$(mktemp -d "${TMPDIR:-/tmp}/ferrostack-story.XXXXXX")
net=$((RANDOM % 200 + 20)) out=$state.out pid=
cat >"$state/config.toml" <<TOML
[api]
identity_port = 0
image_port = 0
placement_port = 0
network_port = 0
compute_port = 0
metadata_port = 0
volume_port = 0
novnc_port = 0
[neutron_agents]
external_bridge = "br-story$net"
external_bridge_cidr = ["172.27.$net.1/24"]
[nova_compute]
capability_cache = "$cache/capabilities"
TOML
far=${FAR_VOLUMES:-}
[ -z "$far" ] || printf '[cinder_volume]\nhost = "storage1"\nmy_ip = "127.0.0.1"\n' >>"$state/config.toml"

# What a cloud could leave on a host, one thing a line. Zombies are their parents' business.
on_host() {
  ip -o link | awk -F': ' '{sub(/@.*/, "", $2); print "link " $2}'
  ip netns list 2>/dev/null | awk '{print "namespace " $1}'
  nft list tables 2>/dev/null
  local p words
  for p in /proc/[0-9]*; do
    words=$({ tr '\0' ' ' <"$p/cmdline"; } 2>/dev/null) || continue
    case $words in
      qemu-* | *bin/qemu-* | *libvirtd* | *virtlogd* | *dnsmasq* | *radvd* | *conntrackd* | *ferrostack\ run*)
        echo "process ${p#/proc/} ${words:0:100}" ;;
    esac
  done
}
ours_on_host() { comm -13 "$state.before" <(on_host | sort); }

finish() {
  local code=$?
  trap - EXIT INT TERM
  if [ "$failed" -gt 0 ] || [ $code -ne 0 ]; then
    say "--- the cloud's last words"
    grep -E '"level":"(WARN|ERROR)"' "$state/logs/ferrostack.log" 2>/dev/null | tail -n 15 | cut -c1-600 >&2 || true
    [ ! -e "$state/guest.log" ] || { say "--- the guest's"; tail -n 25 "$state/guest.log" >&2; }
  fi
  "$binary" reset --yes --state "$state" --config "$state/config.toml" >"$state.reset" 2>&1 || cat "$state.reset" >&2
  [ -z "$pid" ] || wait "$pid" 2>/dev/null || true
  local left
  left=$(ours_on_host)
  check "nothing is left on the host after reset" test -z "$left"
  [ -z "$left" ] || printf '%s\n' "$left" | sed 's/^/    /' >&2
  rm -rf "$state" "$state.before" "$state.reset" "$state.out" "$state.left"
  count_up $code
}
on_host | sort >"$state.before"
trap finish EXIT
trap 'exit 130' INT TERM

# value COMMAND...: one column of one thing.
value() { openstack "${@:2}" -f value -c "$1"; }
empty() { local got; got=$("$@") || return; [ -z "$got" ] || { echo "$got"; return 1; }; }
has() { local got; got=$("${@:2}") || return; grep -qE "$1" <<<"$got" || { echo "no '$1' in:"; echo "$got"; return 1; }; }

# --- a cloud ---
setsid "$binary" run --state "$state" --config "$state/config.toml" </dev/null >"$state/ready.json" 2>"$state/stderr.txt" &
pid=$!
cloud_answers() { wait_ready "$pid" "$state/ready.json" 120 || { cat "$state/stderr.txt"; return 1; }; }
need "the cloud starts" cloud_answers
export PATH=$cache/client/bin:$PATH OS_CLIENT_CONFIG_FILE=$state/clouds.yaml OS_CLOUD=ferrostack

# --- what a server needs ---
need "image create" openstack image create guest --file "$image" --disk-format qcow2 --container-format bare
need "flavor create" openstack flavor create tiny --ram 128 --disk 1 --vcpus 1
need "network create (external)" openstack network create public --external --provider-network-type flat \
  --provider-physical-network public
need "subnet create (external)" openstack subnet create public --network public --subnet-range "172.27.$net.0/24" \
  --gateway "172.27.$net.1" --no-dhcp
need "network create" openstack network create private
need "subnet create" openstack subnet create private --network private --subnet-range 192.168.77.0/24
need "router create" openstack router create router --external-gateway public
need "router add subnet" openstack router add subnet router private
need "security group create" openstack security group create open
need "security group rule create" openstack security group rule create open --protocol tcp --dst-port 22
need "security group rule create (icmp)" openstack security group rule create open --protocol icmp
ssh-keygen -q -t ed25519 -N '' -f "$state/key"
need "keypair create" openstack keypair create key --public-key "$state/key.pub"
host_up() { [ "$(value State compute service list --service nova-compute)" = up ]; }
need "a compute host is up" within 60 host_up
need "volume create" openstack volume create --size 1 data

# --- the guest ---
need "server create --wait" openstack server create first --image guest --flavor tiny --network private \
  --security-group open --key-name key --wait
server=$(value id server show first)
need "floating ip create" value floating_ip_address floating ip create public
address=$(tail -n 1 "$state.out")
need "server add floating ip" openstack server add floating ip first "$address"
options=(-q -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o ConnectTimeout=5)
guest() { ssh "${options[@]}" -o BatchMode=yes -i "$state/key" "cirros@$address" "$@" </dev/null; }
guest_ready() { guest true; }
check "ssh by key ($address)" within 240 guest_ready || {
  openstack console log show first >"$state/guest.log" 2>&1 || true
  exit 1
}
check "ping" ping -c 2 -W 5 "$address" || true
check "ssh by password" sshpass -p gocubsgo ssh "${options[@]}" -o PubkeyAuthentication=no "cirros@$address" true || true
check "the guest knows its name" equal "$(guest hostname)" first || true
check "metadata service" has "$server" guest "wget -qO- http://169.254.169.254/openstack/latest/meta_data.json" || true

# --- a volume ---
need "server add volume" openstack server add volume first data
in_use() { [ "$(value status volume show data)" = "$1" ]; }
need "the volume is in use" within 60 in_use in-use
disk_seen() { guest "test -b /dev/vdb"; }
if check "the guest sees a disk" within 60 disk_seen; then
  check "its size" equal "$(guest "cat /sys/block/vdb/size")" 2097152 || true
  check "mkfs" guest "sudo mkfs.ext4 -q /dev/vdb" || true
  check "mount, write, read, unmount" guest \
    "sudo mount /dev/vdb /mnt && echo hello | sudo tee /mnt/file && sync && grep hello /mnt/file && sudo umount /mnt" || true
fi
if [ -n "$far" ]; then
  # The storage daemons of one end or, with nothing, of both.
  daemons() { pgrep -f "qemu-storage-daemon .*$state/.*id=$1" || true; }
  daemons_are() { equal "$(daemons "" | wc -l)" "$1"; }
  check "a storage daemon at either end" daemons_are 2 || true
  grow() { openstack --os-volume-api-version 3.42 volume set data --size 2 2>&1 || true; }
  check "a volume that is far away does not grow" has "cannot be extended while a server" grow || true
  for end in export proxy; do
    old=$(daemons "$end-")
    check "kill the $end's daemon" kill -9 "$old" || true
    check "the guest writes on" within 60 guest \
      "sudo mount /dev/vdb /mnt && echo $end | sudo tee /mnt/$end && sync && sudo umount /mnt" || true
    check "another one has come" test "$(daemons "$end-")" != "$old" || true
  done
  check "what was written is there" guest "sudo mount /dev/vdb /mnt && cat /mnt/file /mnt/export /mnt/proxy && sudo umount /mnt" || true
fi
check "server remove volume" openstack server remove volume first data || true
check "the volume is available" within 90 in_use available || true
disk_gone() { guest "! test -b /dev/vdb"; }
[ -z "$far" ] || check "no storage daemon" within 20 daemons_are 0 || true
check "the disk leaves the guest" within 30 disk_gone || true

check "console log show" has login openstack console log show first || true
check "console url show" has 'http.*token' openstack console url show first || true
check "status shows every agent up" "$binary" status --state "$state" || true

# --- away with it ---
need "server delete --wait" openstack server delete first --wait
qemu_gone() { ! ours_on_host | grep -q 'process.*qemu'; }
check "no QEMU process" within 20 qemu_gone || true
check "no server" empty openstack server list --all-projects -f value || true
check "no port of a server" empty openstack port list --device-owner compute:nova -f value || true
provider=$(openstack resource provider list -f value -c uuid)
used() { openstack resource provider show --allocations "$provider" -f value -c allocations; }
check "no allocation" equal "$(used)" "{}" || true
check "no volume attachment" empty openstack --os-volume-api-version 3.27 volume attachment list -f value || true
check "no disk of it" test ! -e "$state/instances/$server" || true
check "volume delete" openstack volume delete data || true
check "floating ip delete" openstack floating ip delete "$address" || true
check "router remove subnet" openstack router remove subnet router private || true
check "router delete" openstack router delete router || true
check "network delete" openstack network delete private || true
check "network delete (external)" openstack network delete public || true
check "security group delete" openstack security group delete open || true
check "image delete" openstack image delete guest || true
host_clean() {
  ours_on_host >"$state.left"
  ! grep -E '^namespace|link (tap|brq|vxlan)|dnsmasq|radvd' "$state.left"
}
check "no namespace, bridge, tap or dnsmasq" within 20 host_clean || true
gone() { empty openstack volume list --all-projects -f value; }
check "no volume" within 20 gone || true
