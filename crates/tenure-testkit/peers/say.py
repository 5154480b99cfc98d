"""Lines of a candidate, as testkit-candidate writes them."""

import json
import sys
import time


def say(event, token=0):
    line = {"event": event, "token": token, "mono_ns": time.monotonic_ns()}
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()
