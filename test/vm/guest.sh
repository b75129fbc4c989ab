# Second in the VM, as pid 1 on the machine's root: the mounts of a running system and, by the mode, its cgroups or systemd;
# then job.sh. /project/.vm is the directory that run.sh made: what is to be run, as whom, in which mode.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8
mode=$(cat /project/.vm/mode)
mount -t tmpfs -o mode=755 tmpfs /run
modprobe -a veth bridge dummy nf_tables fuse 2>/dev/null
mount -t tmpfs -o mode=1777 tmpfs /tmp
mount -t tmpfs -o mode=1777 tmpfs /var/tmp
hostname vm
# Of the machine, not of the VM: what systemd would mount, and where it would think it is.
: > /etc/fstab
rm -f /.dockerenv

if [ "$mode" = systemd ]; then
  mkdir -p /run/systemd/system
  cat > /run/systemd/system/vm.service <<'U'
[Unit]
Wants=basic.target dbus.service systemd-logind.service
After=basic.target dbus.service systemd-logind.service
[Service]
ExecStart=/bin/sh /project/test/vm/job.sh
Environment=HOME=/root LANG=C.UTF-8
TimeoutSec=infinity
U
  exec /lib/systemd/systemd --unit=vm.service --log-target=console --show-status=no
fi

mkdir -p /dev/pts /dev/shm
mount -t devpts -o mode=620,ptmxmode=666,gid=5 devpts /dev/pts
mount -t tmpfs -o mode=1777 tmpfs /dev/shm
mount -t securityfs none /sys/kernel/security
ip link set lo up

v1() { # controllers …: each word is a hierarchy
  mount -t tmpfs -o mode=755 tmpfs /sys/fs/cgroup
  mkdir /sys/fs/cgroup/systemd
  mount -t cgroup -o none,name=systemd cgroup /sys/fs/cgroup/systemd
  for hierarchy; do
    mkdir "/sys/fs/cgroup/$hierarchy"
    mount -t cgroup -o "$hierarchy" cgroup "/sys/fs/cgroup/$hierarchy" 2>/dev/null || {
      rmdir "/sys/fs/cgroup/$hierarchy"
      echo "guest: no v1 $hierarchy in this kernel"
      continue
    }
    case $hierarchy in *,*) for name in $(echo "$hierarchy" | tr , ' '); do ln -s "$hierarchy" "/sys/fs/cgroup/$name"; done ;; esac
  done
}
others='cpuset memory pids freezer devices blkio perf_event hugetlb rdma misc'
case $mode in
  v2) mount -t cgroup2 cgroup2 /sys/fs/cgroup ;;
  # shellcheck disable=SC2086 # a list of words
  v1|hybrid) v1 cpu,cpuacct net_cls,net_prio $others ;;
  # shellcheck disable=SC2086
  split) v1 cpu cpuacct net_cls net_prio $others ;;
esac
case $mode in hybrid|split) mkdir /sys/fs/cgroup/unified && mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified ;; esac

# Not exec: pid 1 is a reaper, as on any machine.
sh /project/test/vm/job.sh &
while :; do wait; sleep 1; done
