"""Show that the server's cage holds: needs bubblewrap, so no test of the suite. `python tools/isolation_check.py`.

Each line is an attempt that must fail, or one that must succeed, inside the cage that detectors get.
"""

from __future__ import annotations

import os
import socket
import sys
import tempfile
from pathlib import Path

from weightfeat.files import make_folder
from weightfeat.rounds import read_round
from weightfeat.server import processes, runner
from weightfeat.server.isolation import Isolation, find
from weightfeat.server.places import Parameters, Workspace
from weightfeat.server.runner import Limits
from weightfeat.server.server import Settings, evaluate

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
import server_detectors

CONNECT = "import socket; socket.create_connection(('127.0.0.1', {port}), 3)"
ATTEMPTS = (
    ("write to scratch", "open('{scratch}/x', 'w').write('x')", True),
    ("write the result", "open('{active}/result.txt', 'w').write('0.5')", True),
    ("read the model", "open('{active}/model.pt').read()", True),
    ("write to HOME", "import os; open(os.environ['HOME'] + '/x', 'w')", False),
    ("write to /tmp", "open('/tmp/x', 'w')", False),
    ("write to the working folder", "open('x', 'w')", False),
    ("write to the round", "open('{round}/model.pt', 'a')", False),
    ("write to the server's other files", "open('{outside}', 'w')", False),
    ("reach this machine over the loopback", CONNECT, False),
    ("look up a name", "import socket; socket.getaddrinfo('example.org', 80)", False),
    ("see the server's process", "import os; os.stat('/proc/{pid}/exe')", False),
)


def main() -> int:
    """0 when every attempt and every broken detector came out as it must; 2 without bubblewrap."""
    isolation = find()
    print(isolation.described())
    if not isolation.active:
        return 2
    with tempfile.TemporaryDirectory() as folder:
        wrong = attempts(Path(folder), isolation) + broken_detectors(Path(folder), isolation)
    print(f"{wrong} wrong")
    return int(bool(wrong))


def attempts(top: Path, isolation: Isolation) -> int:
    """Make every attempt and return how many came out as they must not."""
    (top / "round").mkdir()
    (top / "round" / "model.pt").write_text("model")
    space = Workspace.on_host(top / "work")
    words = {"scratch": space.scratch, "active": space.active, "round": top / "round", "outside": top / "x"}
    wrong = 0
    with socket.create_server(("127.0.0.1", 0)) as server:
        for what, code, allowed in ATTEMPTS:
            space.lay_out(top / "round" / "model.pt")
            filled = code.format(**words, port=server.getsockname()[1], pid=os.getpid())
            ended = runner.run(
                isolation.wrap([sys.executable, "-c", filled], space),
                cwd=space.cwd,
                environment=isolation.environment(space),
                mark=str(top),
                stdout=top / "out",
                stderr=top / "err",
                scratch=space.scratch,
                limits=Limits(30),
            )
            done = ended.exit_code == 0
            said = ["", *(top / "err").read_text().strip().splitlines()][-1]
            wrong += told(done == allowed, f"{what}: {'done' if done else said}")
    return wrong + told(not processes.members(None, str(top)), "nothing of it is left running")


def broken_detectors(top: Path, isolation: Isolation) -> int:
    """Serve the tests' broken detectors in the cage and return how many were named or scored otherwise."""
    models = {f"id-{number}": case for number, case in enumerate(server_detectors.BROKEN)}
    root = server_detectors.write_round(top / "broken", models)
    command = server_detectors.command(top / "detector", server_detectors.by_model(server_detectors.BROKEN))
    settings = Settings(command, "1-4", server_detectors.QUICK, Parameters())
    outcomes = evaluate(
        read_round(root), make_folder(top / "served", "folder"), settings, isolation, lambda line: None
    )
    wrong = 0
    for outcome in outcomes:
        case = models[outcome.name]
        as_it_must = (outcome.reason, outcome.score) == server_detectors.NAMED[case]
        wrong += told(as_it_must, f"a detector that {case}: {outcome.reason} ({outcome.detail})")
    return wrong


def told(as_it_must: bool, what: str) -> int:
    """Print a line; 1 where it is not as it must be."""
    print(f"{'ok' if as_it_must else 'WRONG':<6} {what}")
    return int(not as_it_must)


if __name__ == "__main__":
    sys.exit(main())
