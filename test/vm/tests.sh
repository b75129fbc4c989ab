# Fourth in the VM, as the one it was asked for: the command, or the compiled tests one after the other as one TAP stream.
# tap's own runner takes minutes to load on an emulated processor; a test file is a TAP program without it.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 TAP_TIMEOUT=600
cd /project || exit
[ ! -e .vm/command ] || exec sh .vm/command

n=0 failed=0 result=$(mktemp)
echo 'TAP version 14'
echo "# Linux $(uname -r), $(id -un), $(awk '$3 ~ /^cgroup/ { printf " %s", $2 }' /proc/self/mounts)"
while read -r file; do
  n=$((n + 1))
  echo "# Subtest: $file"
  start=$(date +%s)
  { timeout -k 5 600 node "${file%.ts}.js" 2>&1 </dev/null; echo $? > "$result"; } | sed -u '/^TAP version/d; s/^/    /'
  status=$(cat "$result") ok=ok
  [ "$status" = 0 ] || { ok='not ok' failed=$((failed + 1)); }
  echo "$ok $n - $file # time=$(($(date +%s) - start))s$([ "$status" != 124 ] || echo ', stopped')"
done < .vm/files
echo "1..$n"
[ "$failed" = 0 ]
