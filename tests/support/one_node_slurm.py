"""A real Slurm of one node on the loopback device, with a key, ports and folders of its own, so that several may run.

    with one_node_slurm(tmp_path) as conf:
        os.environ["SLURM_CONF"] = str(conf)
        ...

By hand: `python tests/support/one_node_slurm.py FOLDER` starts one and stops it when the input ends.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

DAEMONS = ("munged", "slurmctld", "slurmd")
_PATIENCE = 30.0  # seconds
_CONF = """
ClusterName=one
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SwitchType=switch/none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
ReturnToService=2
SchedulerParameters=batch_sched_delay=0,sched_interval=1,sched_min_interval=0
SlurmdParameters=config_overrides
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory=4096 State=UNKNOWN
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


def lacking() -> str:
    """Why there can be none on this machine; "" where there can."""
    missing = [name for name in (*DAEMONS, "sbatch") if not shutil.which(name, path=_path())]
    if missing:
        return f"no {', '.join(missing)} (packages slurm-wlm and munge)"
    return "" if os.getuid() == 0 else "Slurm's daemons need root"


def _path() -> str:
    return f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"  # where a user's own may lack them


@contextlib.contextmanager
def one_node_slurm(folder: Path, cpus: int = 2) -> Iterator[Path]:
    """The path of its slurm.conf, once the node takes jobs. folder: empty, short enough for a socket."""
    conf = folder / "slurm.conf"
    try:
        _start(folder, conf, cpus)
        try:
            yield conf
        finally:
            _empty(conf)
    finally:
        _stop([folder / f"{name}.pid" for name in reversed(DAEMONS)])


def _start(folder: Path, conf: Path, cpus: int) -> None:
    for name in ("state", "spool"):
        (folder / name).mkdir()
    (folder / "munge.key").touch(0o600)
    (folder / "munge.key").write_bytes(secrets.token_bytes(64))
    host = socket.gethostname().partition(".")[0]
    conf.write_text(_CONF.format(host=host, ports=_free_ports(2), folder=folder, cpus=cpus))
    files = {"socket": "munge.socket", "key-file": "munge.key", "pid-file": "munged.pid", "log-file": "munged.log"}
    options = [f"--{option}={folder / file}" for option, file in (files | {"seed-file": "munged.seed"}).items()]
    _run("munged", "--force", *options)
    for name in DAEMONS[1:]:
        _run(name, "-f", str(conf))
    end = time.monotonic() + _PATIENCE
    while "idle" not in _run("sinfo", "--noheader", "--format=%T", conf=conf):
        if time.monotonic() > end:
            raise RuntimeError(f"the node did not come up:\n{(folder / 'slurmd.log').read_text()}")
        time.sleep(0.1)


def _free_ports(number: int) -> list[int]:
    """Ports that nobody listens on."""
    with contextlib.ExitStack() as stack:
        found = [stack.enter_context(socket.socket()) for _ in range(number)]
        for one in found:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in found]


def _run(name: str, *arguments: str, conf: Path | None = None) -> str:
    environment = os.environ | {"PATH": _path()} | ({"SLURM_CONF": str(conf)} if conf else {})
    done = subprocess.run(
        [name, *arguments], env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    if done.returncode and conf is None:
        raise RuntimeError(f"{name} did not start (exit code {done.returncode})")
    return done.stdout


def _empty(conf: Path) -> None:
    """Ends all jobs, whose processes would outlive the daemons."""
    _run("scancel", f"--user={os.getuid()}", conf=conf)
    end = time.monotonic() + _PATIENCE
    while _run("squeue", "--noheader", conf=conf).strip() and time.monotonic() < end:
        time.sleep(0.1)


def _stop(files: list[Path]) -> None:
    """Ends the daemons that wrote their numbers into `files`, and waits until they have ended."""
    alive = [int(file.read_text()) for file in files if file.exists()]
    for number in alive:
        with contextlib.suppress(ProcessLookupError):
            os.kill(number, signal.SIGTERM)
    end = time.monotonic() + _PATIENCE
    while alive and time.monotonic() < end:
        time.sleep(0.05)
        alive = [number for number in alive if Path(f"/proc/{number}").exists()]


if __name__ == "__main__":
    with one_node_slurm(Path(sys.argv[1]).resolve()) as started:
        print(f"export SLURM_CONF={started}", flush=True)
        sys.stdin.read()
