# Leaves daemons behind: each has a session of its own and ignores signals. All end with the container.
# expect: exit 0
# output: 5 daemons
import os, signal, time
for _ in range(5):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT):
                signal.signal(number, signal.SIG_IGN)
            os.close(1)
            os.close(2)
            time.sleep(1000)
        os._exit(0)
    os.wait()
print("5 daemons")
