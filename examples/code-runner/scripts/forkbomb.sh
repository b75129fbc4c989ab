# A fork bomb. It goes on until nothing can be forked any more, and is gone with its container.
# expect: timeout | exit 2
bomb() { bomb | bomb & }
bomb
while :; do :; done
