# Takes memory until there is none. Where there is no cgroup the address space is limited, and Python is told.
# expect: oom | exit 1
blocks = []
while True:
    blocks.append(bytearray(b"x" * 30_000_000))
