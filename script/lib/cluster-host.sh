# One simulated host of script/cluster; sourced there. A host is a network, a mount and a UTS namespace, kept by a process
# that sleeps in them: a /run, a /var/lib/ferrostack and an /etc/hosts of its own, and devices on the cluster's networks.

# ns HOST: the name of its network namespace, which is also how `ip netns` shows it.
ns() { echo "fsc-$1"; }

# network NAME: a bridge of the cluster, in a namespace of its own so that this machine's network sees nothing of it.
network() {
  ip netns list | grep -qw "$(ns switch)" || {
    ip netns add "$(ns switch)"
    ip -n "$(ns switch)" link set lo up
  }
  ip -n "$(ns switch)" link add "$1" type bridge forward_delay 0
  ip -n "$(ns switch)" link set "$1" up
}

# plug HOST DEVICE NETWORK [ADDRESS/BITS]
plug() {
  # Names of devices end after 15 letters.
  local port=${1:0:4}${1: -1}-${3:0:4}
  ip -n "$(ns switch)" link add "$port" type veth peer name "$2" netns "$(ns "$1")"
  ip -n "$(ns switch)" link set "$port" master "$3" up
  ip -n "$(ns "$1")" link set "$2" up
  [ -z "${4:-}" ] || ip -n "$(ns "$1")" addr add "$4" dev "$2"
}

# host NAME: makes it; `plug` gives it networks.
host() {
  local dir=$base/$1
  mkdir -p "$dir/state" "$dir/log"
  ip netns add "$(ns "$1")"
  ip -n "$(ns "$1")" link set lo up
  cat >"$dir/setup" <<SETUP
set -e
umount -l -R /sys
mount -t sysfs sysfs /sys
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/netns /run/lock /var/lib/ferrostack
mount --make-shared /run
mount --bind $dir/state /var/lib/ferrostack
case $1 in
  # What an operator shares with NFS or CephFS: the image store of all controllers.
  controller*) mkdir -p $base/shared/images /var/lib/ferrostack/images; mount --bind $base/shared/images /var/lib/ferrostack/images ;;
esac
case $1 in
  # Its user reaches nothing below the cluster's own folder.
  db*) mkdir -p $dir/mariadb /var/lib/mysql; chown mysql: $dir/mariadb; mount --bind $dir/mariadb /var/lib/mysql ;;
esac
mount --bind $base/hosts /etc/hosts
hostname $1
touch $dir/ready
exec sleep infinity
SETUP
  rm -f "$dir/ready"
  setsid nsenter --net="/run/netns/$(ns "$1")" unshare --mount --uts --propagation private \
    bash "$dir/setup" </dev/null >"$dir/log/host.log" 2>&1 &
  echo $! >"$dir/pid"
  disown
  local until=$((SECONDS + 10))
  until [ -e "$dir/ready" ]; do
    kill -0 "$(cat "$dir/pid")" 2>/dev/null && [ $SECONDS -lt $until ] || {
      tail -n 5 "$dir/log/host.log" >&2
      return 1
    }
    sleep 0.02
  done
}

# on HOST COMMAND...: runs a command there.
on() {
  local pid
  pid=$(cat "$base/$1/pid" 2>/dev/null) && kill -0 "$pid" 2>/dev/null ||
    die "there is no host $1" "hosts: $(hosts_up)" "script/cluster up starts the cluster"
  nsenter -t "$pid" -m -n -u -- "${@:2}"
}

# daemon HOST NAME COMMAND...: a process that stays; its words are in HOST/log/NAME.log, its id in HOST/NAME.pid.
daemon() {
  local dir=$base/$1
  setsid nsenter -t "$(cat "$dir/pid")" -m -n -u -- "${@:3}" </dev/null >>"$dir/log/$2.log" 2>&1 &
  echo $! >"$dir/$2.pid"
  disown
}

# keep HOST NAME COMMAND...: one that is started again when it dies; what it prints is in HOST/log/NAME.ready.
keep() {
  local dir=$base/$1
  rm -f "$dir/$2.stopped" "$dir/log/$2.ready"
  daemon "$1" "$2.keeper" "$root/script/lib/keep.sh" "$dir/log/$2.ready" "$dir/$2.stopped" "$dir/hold" "${@:3}"
}

# kill_named HOST WORD...: SIGKILL to what the host runs under these names.
kill_named() {
  local p
  for p in $(processes "$1"); do
    case " ${*:2} " in *" $(cat "/proc/$p/comm" 2>/dev/null) "*) kill -KILL "$p" 2>/dev/null || true ;; esac
  done
}

# kill_all HOST: SIGKILL to all of it, but for what starts it again.
kill_all() {
  local p
  for p in $(processes "$1"); do
    case $(tr '\0' ' ' <"/proc/$p/cmdline" 2>/dev/null) in *keep.sh*) ;; *) kill -KILL "$p" 2>/dev/null || true ;; esac
  done
}

alive() { local state; state=$(sed -n 's/^State:[[:space:]]*\(.\).*/\1/p' "/proc/$1/status" 2>/dev/null); [ -n "$state" ] && [ "$state" != Z ]; }

# processes HOST: everything that lives in its mount namespace or in one made from there, but for its keeper.
processes() {
  local keeper uts p
  keeper=$(cat "$base/$1/pid" 2>/dev/null) || return 0
  uts=$(readlink "/proc/$keeper/ns/uts" 2>/dev/null) || return 0
  for p in /proc/[0-9]*; do
    p=${p#/proc/}
    [ "$p" != "$keeper" ] && [ "$(readlink "/proc/$p/ns/uts" 2>/dev/null)" = "$uts" ] && echo "$p"
  done
  return 0
}

# end PID SECONDS: asks a process to end, and ends it if it does not.
end() {
  kill -TERM "$1" 2>/dev/null || return 0
  local until=$((SECONDS + $2))
  while alive "$1"; do
    if [ $SECONDS -ge $until ]; then
      kill -KILL "$1" 2>/dev/null || true
      return 0
    fi
    sleep 0.05
  done
}

# unmake HOST: ends all of it.
unmake() {
  local signal p
  for signal in TERM KILL; do
    for p in $(processes "$1"); do kill -$signal "$p" 2>/dev/null || true; done
    local until=$((SECONDS + 5))
    while [ -n "$(processes "$1")" ] && [ $SECONDS -lt $until ]; do sleep 0.1; done
  done
  kill -KILL "$(cat "$base/$1/pid" 2>/dev/null)" 2>/dev/null || true
  ip netns del "$(ns "$1")" 2>/dev/null || true
}
