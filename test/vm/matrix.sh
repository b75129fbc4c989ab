#!/bin/sh
# The combinations of kernel, cgroups and user that differ: one line each, and the TAP in build/vm.
# sh test/vm/matrix.sh [a word that the combination must have, as 6.12 or root …]
# VM_TESTS: the tests' names; as it stands those that ask the kernel and start few Nodes, of which each takes seconds.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
logs=$here/../../build/vm
mkdir -p "$logs"
files=$(for name in ${VM_TESTS:-smoke run cgroup sys namespaces userns filesystem}; do echo "test/$name.test.ts"; done)

sum() { sed -n "s/^ *# { total:.* $1: \([0-9]*\).*/\1/p" "$2" | awk '{ n += $1 } END { print n + 0 }'; }

worst=0
while read -r kernel mode who; do
  for word; do case " $kernel $mode $who " in *" $word "*) ;; *) continue 2 ;; esac; done
  log=$logs/$kernel-$mode-$who.tap start=$(date +%s) result=ok
  # shellcheck disable=SC2086 # a list of words
  sh "$here/run.sh" "$kernel" "$mode" "$who" $files >"$log" 2>"$log.err" </dev/null || result=FAILED worst=1
  printf '%-6s %-5s %-8s %-9s  files: %2d ok, %2d not ok   assertions: %4d pass, %3d fail   %4d s\n' "$result" "$kernel" "$mode" "$who" \
    "$(grep -c '^ok' "$log")" "$(grep -c '^not ok' "$log")" "$(sum pass "$log")" "$(sum fail "$log")" $(($(date +%s) - start))
  grep '^not ok' "$log" | sed 's/^/         /' || true
done <<'ROWS'
6.1 v2 root
6.1 v2 user
6.1 v2 delegated
6.12 v2 root
6.12 v2 delegated
6.1 v1 root
6.1 hybrid root
6.1 split root
6.12 hybrid root
6.1 systemd root
6.1 systemd user
6.1 systemd delegated
6.12 systemd delegated
ROWS
exit $worst
