# Talks to the network: the runner's own port on the host (the second argument), a name, a public address.
# expect: exit 0
# output: 0 connections
import socket, sys
connections = 0
for address in [("127.0.0.1", int(sys.argv[1])), ("1.1.1.1", 53), ("8.8.8.8", 443), ("169.254.169.254", 80)]:
    try:
        socket.create_connection(address, timeout=0.2).close()
        connections += 1
    except OSError:
        pass
try:
    socket.getaddrinfo("example.org", 80)
    connections += 1
except OSError:
    pass
print(connections, "connections")
