#!/bin/sh
# Everything between the kernel and the login prompt.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t tmpfs -o mode=755,size=8m run /run
mkdir -p /dev/pts /dev/shm
mount -t devpts -o gid=5,mode=620,ptmxmode=666 devpts /dev/pts
mount -t tmpfs shm /dev/shm
hostname -F /etc/hostname
up() { cut -d' ' -f1 /proc/uptime; }

# Drivers for devices that may come later load beside the network's first steps.
(
  for m in $(cat /etc/modules); do modprobe -q "$m"; done
  mdev -d
  mdev -s
  acpid -c /etc/acpi -l /dev/null
) &
modprobe -q virtio_net
ip link set lo up
for nic in /sys/class/net/eth*; do
  [ -e "$nic" ] || continue
  nic=${nic##*/}
  ip link set "$nic" up
  # The first in the foreground for half a minute at most, the others (and what is late) in the background.
  [ "$nic" = eth0 ] && how='-t 10 -T 3' || how='-t 3 -T 3 -n'
  dhcp() {
    udhcpc -i "$nic" -p "/run/udhcpc.$nic.pid" -s /usr/share/udhcpc/default.script \
      -x hostname:"$(hostname)" -O staticroutes -O mtu $how -A 3 -b -S -R >/dev/null 2>&1
  }
  if [ "$nic" = eth0 ]; then dhcp; else dhcp & fi
done
echo "boot: network $(ip -4 -o addr show dev eth0 2>/dev/null | awk '{print $4}') at $(up)s"
[ -e /sys/class/net/eth0 ] || sleep 1
# The config drive's drivers load in the background; give them a moment before looking for it.
n=0
while [ ! -e /dev/sr0 ] && [ ! -b /dev/vdb ] && [ $n -lt 10 ]; do usleep 100000; n=$((n + 1)); done
mdev -s
/usr/sbin/instance-init identity
dropbear -R -P /run/dropbear.pid
echo "boot: sshd at $(up)s"
(/usr/sbin/instance-init user-data </dev/null >/dev/console 2>&1 &)
cat /etc/issue
