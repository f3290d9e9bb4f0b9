"""A process that runs the code it is given with the real clients, and has the small Hub for its Hub."""

import json
import os
import re
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from threading import Timer

from hub_server import TOKEN

SECONDS = 300
LOOP = """
import json, sys, traceback
answers, sys.stdout = sys.stdout, sys.stderr
names = {}
for line in sys.stdin:
    names["answer"] = None
    try:
        exec(json.loads(line), names)
        reply = {"answer": names["answer"]}
    except Exception as error:
        traceback.print_exc()
        reply = {"error": f"{type(error).__name__}: {error}", "cause": type(error.__cause__).__name__}
    print(json.dumps(reply), file=answers, flush=True)
"""


def environment(server, folder):
    """Variables of a process for which ``server`` is the Hub, and which keeps its caches in ``folder``."""
    kept = {name: os.environ[name] for name in os.environ if not re.match("HF_|.*_proxy$", name, re.IGNORECASE)}
    return {
        **kept,
        "HF_ENDPOINT": server.url,
        "HF_HOME": str(folder / "home"),
        "HF_TOKEN": TOKEN,
        "HF_HUB_DISABLE_XET": "1",
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), str(Path(__file__).parent)]),
    }


class Client:
    """Keeps its names from one call to the next; ``answer`` is what a piece of code gives back, as JSON."""

    def __init__(self, process, log):
        self.process, self.log = process, log

    def ask(self, code):
        timer = Timer(SECONDS, self.process.kill)
        timer.start()
        self.process.stdin.write(json.dumps(code) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        timer.cancel()
        assert line, f"the process ended\n{self.log.read_text()}"
        return json.loads(line)

    def run(self, code):
        """The answer of the code, which must not raise."""
        reply = self.ask(code)
        assert "error" not in reply, f"{reply['error']}\n{self.log.read_text()}"
        return reply["answer"]

    def error(self, code):
        """What the code raises, ``"Type: message"``, and the type of its cause."""
        reply = self.ask(code)
        assert "error" in reply, "nothing was raised"
        return reply["error"], reply["cause"]


@contextmanager
def client(server, folder):
    """A client that lives while the block does."""
    log = folder / "stderr.txt"
    with (
        log.open("w") as stderr,
        subprocess.Popen(
            [sys.executable, "-c", LOOP],
            env=environment(server, folder),
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        ) as process,
    ):
        try:
            yield Client(process, log)
        finally:
            process.kill()
