"""redis-py's Lock as a leader election: URL ELECTION ID TTL_MS.

The lock does not renew itself: the holder extends it every third of its time, as users do.
"""

import signal
import sys
import time

import redis
from redis.exceptions import LockError

from say import say

url, election, _id, ttl_ms = sys.argv[1:]
ttl = int(ttl_ms) / 1000
asked = []
signal.signal(signal.SIGTERM, lambda *_: asked.append(True))
lock = redis.Redis.from_url(url).lock(election, timeout=ttl)
say("campaigning")
while not asked:
    # As the documentation has it: blocking, which polls every tenth of a second.
    if lock.acquire(blocking=True, blocking_timeout=1):
        break
if not asked:
    say("elected")
    last = time.monotonic()
    while not asked:
        time.sleep(0.005)
        if time.monotonic() - last > ttl / 3:
            last = time.monotonic()
            try:
                lock.extend(ttl, replace_ttl=True)
            except LockError:
                say("lost:extend")
                sys.exit(1)
    lock.release()
say("left")
