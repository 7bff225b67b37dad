"""A real SLURM of one node: munge, its controller and its daemon, in a folder of their own."""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scontrol", "scancel")
_PATH = f"{os.environ['PATH']}:/usr/sbin:/usr/bin"


def missing_programs() -> list[str]:
    """Return which of SLURM's programs are not installed."""
    return [name for name in PROGRAMS if shutil.which(name, path=_PATH) is None]


@dataclass(frozen=True)
class Slurm:
    """A running cluster.

    Args:
        folder: Its files.
        variables: Environment of its commands.
    """

    folder: Path
    variables: dict[str, str]

    def do(self, *words: str) -> str:
        """Run a command of SLURM, and return what it prints."""
        done = subprocess.run(words, env=self.variables, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def wait_for(self, what: Callable[[], bool], seconds: float) -> None:
        """Wait until something is so."""
        deadline = time.monotonic() + seconds
        while not what():
            assert time.monotonic() < deadline, self.do("squeue") + self._logs()
            time.sleep(0.5)

    def _logs(self) -> str:
        logs = [*self.folder.glob("*.log"), *self.folder.rglob("prag-*.log")]
        return "".join(f"\n== {log}\n{log.read_text()[-2000:]}" for log in logs)


@contextmanager
def slurm_cluster(folder: Path, num_cpus: int = 2) -> Iterator[Slurm]:
    """Yield a cluster of one node, which is this machine; it is ended with the block.

    Args:
        folder: Folder for its files.
        num_cpus: How many tasks run at once.
    """
    for name in ("state", "spool"):
        (folder / name).mkdir()
    key = folder / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o600)
    (folder / "slurm.conf").write_text(_configuration(folder, num_cpus))
    variables = {**os.environ, "PATH": _PATH, "SLURM_CONF": str(folder / "slurm.conf")}
    # Nothing here may take this process for a job of another cluster.
    for name in [name for name in variables if name.startswith("SLURM_") and name != "SLURM_CONF"]:
        del variables[name]
    files = {"key-file": key, "socket": folder / "munge.socket"}
    files |= {kind: folder / f"munge.{kind}" for kind in ("pid-file", "log-file", "seed-file")}
    daemons = (
        [
            "munged",
            "--foreground",
            "--force",
            *(f"--{kind}={file}" for kind, file in files.items()),
        ],
        ["slurmctld", "-D", "-c"],
        ["slurmd", "-D"],
    )
    running: list[subprocess.Popen[bytes]] = []
    try:
        with (folder / "daemons.log").open("wb") as log:
            for words in daemons:
                running.append(subprocess.Popen(words, env=variables, stdout=log, stderr=log))
                time.sleep(1)
        slurm = Slurm(folder, variables)
        slurm.wait_for(lambda: "idle" in slurm.do("sinfo", "-h", "-o", "%T"), 60)
        yield slurm
    finally:
        with suppress(AssertionError, NameError):
            slurm.do("scancel", "--user", str(os.getuid()), "--state", "PENDING")
            slurm.do("scancel", "--user", str(os.getuid()))
        for process in reversed(running):
            process.send_signal(signal.SIGTERM)
            process.wait(30)


def _configuration(folder: Path, num_cpus: int) -> str:
    host, user = socket.gethostname(), os.environ.get("USER", "root")
    with socket.socket() as first, socket.socket() as second:
        first.bind(("127.0.0.1", 0))
        second.bind(("127.0.0.1", 0))
        ports = first.getsockname()[1], second.getsockname()[1]
    return f"""
ClusterName=prag
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
ReturnToService=2
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
NodeName={host} NodeAddr=127.0.0.1 CPUs={num_cpus} State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""
