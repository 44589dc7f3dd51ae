"""A client of ``lpnsr serve``, which needs ``pip install requests``:

python http_client.py http://127.0.0.1:8000 photo.jpg photo_x4.png
"""

import sys
import time
from pathlib import Path

import requests

server, source, target = sys.argv[1:]
image = (Path(source).name, Path(source).read_bytes())
answer = requests.post(f"{server}/v1/jobs", files={"image": image}, data={"scale": 4, "seed": 1})
while (job := answer.json()).get("state") in ("queued", "running"):
    left = "" if job["seconds_left"] is None else f", {job['seconds_left']:.0f} s left"
    print(f"{job['state']}: {job['progress']:.0%}{left}")
    time.sleep(1)
    answer = requests.get(f"{server}/v1/jobs/{job['id']}")
if job.get("state") != "done":
    sys.exit(job.get("error") or job.get("detail"))  # a server that is busy (429) says when to come again
Path(target).write_bytes(requests.get(f"{server}/v1/jobs/{job['id']}/result").content)
