# Fills the disk: /tmp is a small file system in memory that is gone afterwards.
# expect: exit 1
# output: full
i=0
while head -c 1000000 /dev/zero > "/tmp/$i" 2>/dev/null; do
  i=$((i + 1))
  [ $i -lt 200 ] || { echo "200 MB written"; exit 0; }
done
rm /tmp/0
echo full
exit 1
