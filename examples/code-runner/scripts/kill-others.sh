# Kills every process that it can see or guess, but for itself.
# expect: exit 0
# output: nobody killed
killed=
pid=1
while [ $((pid += 1)) -lt 3000 ]; do
  [ $pid = $$ ] || kill -9 $pid 2>/dev/null && killed="$killed $pid"
done
kill -9 -1 2>/dev/null
echo "${killed:-nobody} killed"
