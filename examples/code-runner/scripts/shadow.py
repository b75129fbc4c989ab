# Reads the passwords of the host, by its path and by way of other processes.
# expect: exit 0
# output: 0 read
import glob
read = 0
for path in ["/etc/shadow", "/etc/gshadow", "/proc/1/root/etc/shadow", "/dev/vda", "/dev/sda", "/proc/kcore"] + glob.glob("/proc/[0-9]*/root/etc/shadow"):
    try:
        with open(path, "rb") as file:
            text = file.read(10_000)
        print(path, text)
        read += len(text) > 0
    except OSError:
        pass
print(read, "read")
