"""kazoo's Election: HOSTS ELECTION ID TTL_MS."""

import os
import signal
import sys
import threading

from kazoo.client import KazooClient

from say import say

hosts, election, candidate, ttl_ms = sys.argv[1:]
asked = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: asked.set())
client = KazooClient(hosts=hosts, timeout=int(ttl_ms) / 1000)
client.start()
say("campaigning")


def lead():
    say("elected")
    asked.wait()


contest = client.Election("/" + election, candidate)
thread = threading.Thread(target=contest.run, args=(lead,), daemon=True)
thread.start()
while thread.is_alive() and not asked.is_set():
    thread.join(0.05)
thread.join(1)
say("left")
client.stop()
os._exit(0)
