"""The workers of a Ray cluster, as settings."""

from dataclasses import dataclass


@dataclass(frozen=True)
class RayWorkers:
    """The workers of a Ray cluster.

    Args:
        address: ``local`` starts Ray on this machine, for this run; ``auto`` takes the cluster that
            this machine belongs to; otherwise the ``HOST:PORT`` of a cluster.
        num_workers: Number of processes that work. They begin as the cluster has room for them,
            and one that dies is replaced.
        cpus_per_worker: CPUs, and threads, of each.
        gpus_per_worker: GPUs of each: 1, a share of one, or none.

    Raises:
        ValueError: If a number is invalid, or a worker is to have several GPUs.
    """

    address: str = "local"
    num_workers: int = 2
    cpus_per_worker: int = 1
    gpus_per_worker: float = 0.0

    def __post_init__(self) -> None:
        """Check the numbers."""
        for name in ("num_workers", "cpus_per_worker"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} {getattr(self, name)}: give at least 1")
        if self.gpus_per_worker < 0:
            raise ValueError(f"gpus_per_worker {self.gpus_per_worker:g}: give at least 0")
        if self.gpus_per_worker > 1:
            raise ValueError(
                f"gpus_per_worker is {self.gpus_per_worker:g}, but a base lies on one GPU; give 1, "
                "and more num_workers"
            )

    @property
    def resources(self) -> dict[str, float]:
        """What Ray is asked for, for each worker."""
        return {"num_cpus": self.cpus_per_worker, "num_gpus": self.gpus_per_worker}

    @property
    def accelerator(self) -> str:
        """The accelerator of each worker's Trainer."""
        return "gpu" if self.gpus_per_worker else "cpu"

    @property
    def wording(self) -> str:
        """What each worker needs, in words."""
        return f"cpus_per_worker {self.cpus_per_worker}, gpus_per_worker {self.gpus_per_worker:g}"
