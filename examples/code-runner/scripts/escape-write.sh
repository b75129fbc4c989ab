# Writes where the host would see it.
# expect: exit 0
# output: 0 written
written=0
for directory in / /etc /usr /home /root /var/tmp /opt /sys /proc/sys/kernel; do
  { echo escaped > "$directory/code-runner-escaped"; } 2>/dev/null && written=$((written + 1))
done
{ echo '|/run/job/script' > /proc/sys/kernel/core_pattern; } 2>/dev/null && written=$((written + 1))
{ echo '# escaped' >> "$0"; } 2>/dev/null && written=$((written + 1))
{ echo escaped > /tmp/code-runner-escaped; } || exit 1
echo "$written written"
