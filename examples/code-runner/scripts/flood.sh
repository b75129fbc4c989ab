# Floods standard output. The runner keeps a part and drops the rest.
# expect: timeout
yes "there is no end to this"
