# Never ends.
# expect: timeout
while :; do :; done
