"""Which rank this process is, and among how many."""

from __future__ import annotations

import os
import sys

from ._errors import InputError

# Variables of the launchers that are in use: torchrun and accelerate, SLURM, Open MPI.
_LAUNCHERS = (
    ("RANK", "WORLD_SIZE"),
    ("SLURM_PROCID", "SLURM_NTASKS"),
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
)


def rank_and_world_size() -> tuple[int, int]:
    """The rank of this process, from 0, and the number of ranks.

    Asked in this order: ``torch.distributed``, ``jax.distributed``, Ray Train, and the variables of torchrun, SLURM and Open MPI. A process
    that none of them knows of is alone.
    """
    # Only if somebody else has imported it: a process that has not cannot have initialised it.
    torch = sys.modules.get("torch")
    distributed = getattr(torch, "distributed", None)
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    for found in (_of_jax(), _of_ray()):
        if found is not None:
            return found
    for rank, world_size in _LAUNCHERS:
        if rank in os.environ and world_size in os.environ:
            # `srun` starts a single shell with many tasks reserved: only a step has its own number.
            if rank == "SLURM_PROCID" and "SLURM_STEP_ID" not in os.environ:
                continue
            try:
                return int(os.environ[rank]), int(os.environ[world_size])
            except ValueError:
                raise InputError(
                    f"{rank}={os.environ[rank]!r} and {world_size}={os.environ[world_size]!r} in the environment are not whole numbers: "
                    "unset them, or give rank= and world_size="
                ) from None
    return 0, 1


def _of_jax() -> tuple[int, int] | None:
    jax, state = sys.modules.get("jax"), sys.modules.get("jax._src.distributed")
    # Otherwise asking would start the backend, and with it take the GPU's memory. `jax.distributed.is_initialized` says the same, but is not
    # in jax 0.4.30, where two processes would get the same cells.
    if jax is None or getattr(getattr(state, "global_state", None), "client", None) is None:
        return None
    return int(jax.process_index()), int(jax.process_count())


def _of_ray() -> tuple[int, int] | None:
    train = sys.modules.get("ray.train")
    if train is None:
        return None
    try:
        context = train.get_context()
        rank, world_size = context.get_world_rank(), context.get_world_size()
    except Exception:  # Ray has several classes for "not within a worker".
        return None
    if rank is None or world_size is None:
        return None
    return int(rank), int(world_size)
