"""etcdctl's elect: ENDPOINTS ELECTION ID TTL_MS. Its lease is 60 s long, whatever the ttl."""

import os
import signal
import subprocess
import sys

from say import say

endpoints, election, candidate, _ttl_ms = sys.argv[1:]
child = subprocess.Popen(
    ["etcdctl", "--endpoints", endpoints, "elect", election, candidate],
    env={**os.environ, "ETCDCTL_API": "3"},
    stdout=subprocess.PIPE,
)
signal.signal(signal.SIGTERM, lambda *_: child.send_signal(signal.SIGINT))
say("campaigning")
# It prints its key and its value once it is elected.
if child.stdout.readline():
    say("elected")
child.wait()
say("left")
