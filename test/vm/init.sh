#!/busybox sh
# First in the VM, from the initramfs: the machine's root under a tmpfs that takes all writes, and the project, with the
# compiled tests laid over it, at /project, a path of which no part is hidden by a mount of ours and that every user can reach.
bb=/busybox
die() { echo "init: $1"; echo o > /proc/sysrq-trigger; $bb sleep 100; }
arg() { $bb sed -n "s/.*\\b$1=\\([^ ]*\\).*/\\1/p" /proc/cmdline; }

$bb mount -t proc proc /proc
$bb mount -t sysfs sys /sys
$bb mount -t devtmpfs dev /dev
for module in /m/*.ko; do $bb insmod "$module"; done
$bb mount -t virtiofs -o ro root /mnt || die 'no virtiofs'
$bb mount -t tmpfs -o mode=755 tmpfs /rw
$bb mkdir /rw/root /rw/root.work /rw/project /rw/project.work
$bb mount -t overlay -o lowerdir=/mnt,upperdir=/rw/root,workdir=/rw/root.work root /new || die 'no overlay'
$bb mkdir -p /new/project "/new/lib/modules/$($bb uname -r)" /new/proc /new/sys /new/dev
$bb mount -t overlay -o "lowerdir=/mnt$(arg vm.stage):/mnt$(arg vm.checkout),upperdir=/rw/project,workdir=/rw/project.work" project /new/project \
  || die 'no project'
$bb mount --bind "/mnt$(arg vm.kernel)/lib/modules/$($bb uname -r)" "/new/lib/modules/$($bb uname -r)" || die 'no modules'
for directory in proc sys dev; do $bb mount --move /$directory /new/$directory; done
exec $bb switch_root /new /bin/sh /project/test/vm/guest.sh
