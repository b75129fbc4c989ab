#!/bin/sh
# Runs tests in a virtual machine with another kernel and other cgroups: this machine's own root file system, read-only under a
# tmpfs, on an emulated processor (no KVM needed). Output is TAP; the exit status is that of what ran inside.
#   sh test/vm/run.sh 6.1|6.12 v2|v1|hybrid|split|systemd root|user|delegated [test/x.test.ts … | -- command …]
#   sh test/vm/run.sh matrix [a word that the combination must have, as 6.12 or root …]
# hybrid: v1 hierarchies and an empty v2 one; split: the same with cpu and cpuacct apart; systemd: v2 with systemd as pid 1.
# delegated: an unprivileged user in a leaf of a v2 group that is its own. VM_TIME: seconds after which a VM has failed (1800).
# VM_SILENCE: seconds without a sign of life after which it is started once more (120).
set -eu
here=$(cd "$(dirname "$0")" && pwd)
checkout=$(cd "$here/../.." && pwd)
[ "${1-}" != matrix ] || { shift; exec sh "$here/matrix.sh" "$@"; }

usage() { sed -n 's/^#   //p' "$0" >&2; exit 2; }
case ${1-}.${2-}.${3-} in
  6.1.*.delegated|6.12.*.delegated) case $2 in v2|systemd) ;; *) usage ;; esac ;;
  6.1.*.root|6.1.*.user|6.12.*.root|6.12.*.user) case $2 in v2|v1|hybrid|split|systemd) ;; *) usage ;; esac ;;
  *) usage ;;
esac
kernel=$1 mode=$2 who=$3
shift 3
sh "$here/setup" "$kernel" >&2
image=${XDG_CACHE_HOME:-$HOME/.cache}/spawn-contained-vm/$kernel

stage=$(mktemp -d /var/tmp/contained-vm.XXXXXX)
vm='' virtiofsd='' watcher=''
# shellcheck disable=SC2086 # either may be missing
trap 'kill $watcher $vm $virtiofsd 2>/dev/null || true; rm -rf "$stage"' EXIT
trap 'exit 130' INT TERM
chmod 755 "$stage"
mkdir -p "$stage/tree/.vm" "$stage/tree/test"

echo "$mode" > "$stage/tree/.vm/mode"
echo "$who" > "$stage/tree/.vm/who"
if [ "${1-}" = -- ]; then
  shift
  for word; do printf "'%s' " "$(printf %s "$word" | sed "s/'/'\\\\''/g")"; done > "$stage/tree/.vm/command"
else
  [ $# != 0 ] || set -- $(cd "$checkout" && ls test/*.test.ts)
  for file; do
    [ -e "$checkout/$file" ] || { echo "no such file: $file" >&2; exit 2; }
    echo "$file"
  done > "$stage/tree/.vm/files"
  (cd "$checkout" && node_modules/.bin/tsc -p test --noEmit false --declaration false --outDir "$stage/out" && mv "$stage"/out/test/*.js "$stage/tree/test")
fi

case $mode in v2|systemd) cgroups='cgroup_no_v1=all systemd.unified_cgroup_hierarchy=1' ;; *) cgroups= ;; esac

# An emulated processor can stand still for good (QEMU 7.2: both go round in cpu_exec, and the guest's clock does not go on), so
# that nothing in there can end it. The guest's beat tells (job.sh).
watch() {
  beats=0 silent=-300  # it boots until the first
  while [ "$silent" -lt "${VM_SILENCE:-120}" ]; do
    sleep 1
    seen=$(wc -c < "$stage/beat")
    if [ "$seen" = "$beats" ]; then silent=$((silent + 1)); else silent=0; fi
    beats=$seen
  done
  : > "$stage/still"
  kill "$vm"
}

boot() {
  rm -f "$stage/still" "$stage/socket"
  : > "$stage/beat"
  # What Debian 12 brings with QEMU is virtiofsd in C; it serves one guest and ends with it.
  /usr/lib/qemu/virtiofsd --socket-path="$stage/socket" -o source=/ -o sandbox=chroot -o cache=always >"$stage/virtiofsd.log" 2>&1 &
  virtiofsd=$!
  while [ ! -S "$stage/socket" ]; do kill -0 "$virtiofsd" || { cat "$stage/virtiofsd.log" >&2; exit 1; }; sleep 0.05; done
  timeout -k 10 "${VM_TIME:-1800}" qemu-system-x86_64 -accel tcg,thread=multi -cpu max -M q35 -smp 2 -m 3072 \
    -object memory-backend-memfd,id=memory,size=3072M,share=on -numa node,memdev=memory \
    -chardev "socket,id=fs,path=$stage/socket" -device vhost-user-fs-pci,chardev=fs,tag=root \
    -nodefaults -display none -no-reboot -serial "file:$stage/console" -serial stdio -serial "file:$stage/status" -serial "file:$stage/beat" \
    -kernel "$image/vmlinuz" -initrd "$image/initrd" \
    -append "console=ttyS0 quiet panic=-1 no_timer_check $cgroups vm.stage=$stage/tree vm.checkout=$checkout vm.kernel=$image" </dev/null &
  vm=$!
  watch &
  watcher=$!
  ended=0
  wait "$vm" || ended=$?
  kill "$watcher" 2>/dev/null || true
  kill "$virtiofsd" 2>/dev/null || true  # where nobody has ever connected
  wait "$virtiofsd" || true
  vm='' virtiofsd='' watcher=''
}

boot
if [ -e "$stage/still" ]; then
  echo '# the VM stood still, and is started once more'
  boot
fi
[ "$ended" != 124 ] || echo "# the VM was stopped after ${VM_TIME:-1800} s" >&2

# Nothing there: it panicked, hung or never came that far.
status=$(cat "$stage/status")
[ -n "$status" ] || tail -n 30 "$stage/console" | sed 's/\r//; s/^/# console: /' >&2
exit "${status:-1}"
