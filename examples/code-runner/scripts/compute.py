# Adds up some primes, well within its limits.
# expect: exit 0
# output: 142913828922 is not reached, 454396537 is
sieve = bytearray([1]) * 100000
total = 0
for n in range(2, 100000):
    if sieve[n]:
        total += n
        sieve[n * n::n] = bytes(len(range(n * n, 100000, n)))
print("142913828922 is not reached,", total, "is")
