"""Show that annealed islands on two hosts give the bytes of one process; the hosts are network namespaces.

    python -m benchmarks.two_hosts CKPT.pt --budget 200000 [other options of landscape volume]

A budget in passes gives the same bytes wherever it is spent; a time does not.

Needs root and iproute2. The namespaces are removed at the end.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import landscape as ls

HOSTS = {"landscape-a": "10.77.0.1", "landscape-b": "10.77.0.2"}
PATIENCE = 1800  # seconds


@contextmanager
def hosts() -> Iterator[None]:
    """Two namespaces joined by a cable."""
    first, second = HOSTS
    try:
        for name in HOSTS:
            ip(f"netns add {name}")
        ip(f"link add cable netns {first} type veth peer name cable netns {second}")
        for name, address in HOSTS.items():
            ip(f"-n {name} addr add {address}/24 dev cable")
            for device in ("lo", "cable"):
                ip(f"-n {name} link set {device} up")
        yield
    finally:
        for name in HOSTS:
            subprocess.run(["ip", "netns", "del", name], stderr=subprocess.DEVNULL, check=False)


def ip(words: str) -> None:
    """Run one command of iproute2."""
    subprocess.run(["ip", *words.split()], check=True)


def on_two_hosts(command: list[str]) -> None:
    """Run a command under a torchrun on each host, over gloo."""
    first = next(iter(HOSTS))
    running = []
    for name, address in HOSTS.items():
        launch = [
            *f"ip netns exec {name} {sys.executable} -m torch.distributed.run --nnodes=2 --nproc-per-node=1".split(),
            *f"--rdzv-backend=c10d --rdzv-id=1 --rdzv-endpoint={HOSTS[first]}:29400 --local-addr={address}".split(),
            # both have the host name of this machine, so torchrun cannot tell which of them holds the rendezvous
            f"--rdzv-conf=is_host={str(name == first).lower()}",
            "--no-python",
        ]
        environment = {**os.environ, "GLOO_SOCKET_IFNAME": "cable"}
        running.append(subprocess.Popen([*launch, *command], env=environment, stdout=subprocess.DEVNULL))
    try:
        for process in running:
            if process.wait(PATIENCE):
                raise SystemExit(f"a host ended with {process.returncode}")
    finally:
        for process in running:
            process.terminate()


def main() -> None:
    """Run the command both ways and compare the results."""
    if len(sys.argv) < 2 or sys.argv[1] in ("-h", "--help"):
        sys.exit(__doc__)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the namespaces are removed then too
    volume = ["landscape", "volume", *sys.argv[1:], "--estimator", "annealed", "--quiet", "--out"]
    with tempfile.TemporaryDirectory() as folder, hosts():
        seconds = []
        for name in ("one", "two"):
            started, command = time.perf_counter(), [*volume, f"{folder}/{name}.h5"]
            on_two_hosts(command) if name == "two" else subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            seconds.append(time.perf_counter() - started)
        one, two = (ls.Store(Path(folder) / f"{name}.h5") for name in ("one", "two"))
        pairs = [(getattr(two[name], key), array) for name in one.names() for key, array in one[name].arrays().items()]
        equal = sum(other.tobytes() == array.tobytes() for other, array in pairs)
        row = one["annealed"].results[0]  # type: ignore[attr-defined]
    print(
        f"log V {row.log_volume!r}; one process {seconds[0]:.1f} s, two hosts {seconds[1]:.1f} s; "
        f"{equal} of {len(pairs)} arrays equal to the byte"
    )


if __name__ == "__main__":
    main()
