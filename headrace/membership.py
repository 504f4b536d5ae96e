"""The name by which a process of a stage is known in its group. Pure: no I/O."""

from __future__ import annotations


def client_id(worker: str, version: str) -> str:
    """What it calls itself before the broker."""
    return f"{worker}@{version}"


def worker_of(client_id_: str) -> tuple[str, str | None]:
    """Name and version of the process; without ``@`` it is none of ours."""
    worker, _, version = client_id_.rpartition("@")
    return (worker, version) if worker else (client_id_, None)
