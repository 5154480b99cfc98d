"""What `etcdctl lock` runs while it holds: says so, and ends with whoever started it."""

import os
import time

from say import say

parent = os.getppid()
say("elected")
while os.getppid() == parent:
    time.sleep(0.05)
