# Third in the VM: runs what run.sh was asked for, as whom it was asked; its output is the second serial line, its exit status
# the third, and that it is alive the fourth. Then the power goes off, whatever still runs.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
who=$(cat /project/.vm/who)
mode=$(cat /project/.vm/mode)
stty -F /dev/ttyS1 raw -echo
stty -F /dev/ttyS2 raw -echo
while sleep 1; do echo; done >/dev/ttyS3 &
exec >/dev/ttyS1 2>&1 </dev/null
cd /project || exit

user=contained-test
if [ "$who" != root ]; then
  id "$user" >/dev/null 2>&1 || useradd --create-home --shell /bin/sh "$user"
  chown "$user:" "/home/$user" /project /project/test
fi
as_user() { setpriv --reuid="$user" --regid="$user" --init-groups --inh-caps=-all env HOME="/home/$user" USER="$user" "$@"; }
tests='sh /project/test/vm/tests.sh'

session() { # command: as by ssh, in a session's scope, with the user's own manager and bus beside it
  loginctl enable-linger "$user"
  systemctl start "user@$(id -u "$user").service"
  runuser -l "$user" -c "$1"
}

delegated() { # the user owns the group and what moves processes in it, and starts in a leaf of it, as a container manager has it
  group=/sys/fs/cgroup/delegated
  for name in $(cat /sys/fs/cgroup/cgroup.controllers); do echo "+$name" > /sys/fs/cgroup/cgroup.subtree_control; done
  mkdir -p $group/shell
  for directory in $group $group/shell; do
    chown "$user:" $directory $directory/cgroup.procs $directory/cgroup.threads $directory/cgroup.subtree_control
  done
  echo 0 > $group/shell/cgroup.procs
  as_user "$@"
}

case $who.$mode in
  root.*) $tests ;;
  user.systemd) session "$tests" ;;
  delegated.systemd) session "systemd-run --user --scope --quiet -p Delegate=yes $tests" ;;
  user.*) as_user $tests ;;
  delegated.*) delegated $tests ;;
esac
status=$?
echo "$status" > /dev/ttyS2
sync
echo o > /proc/sysrq-trigger
sleep 100
