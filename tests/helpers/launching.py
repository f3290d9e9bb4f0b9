"""How tests start processes, as users do: by ``accelerate launch``."""

import gc
import os
import sys

import torch


def launch(processes):
    """Command line that runs a script on so many CPU processes, in :func:`environment`; the script comes after it.

    With ``--cpu``, ``accelerate launch`` would ask MPI for the processes and start one where there is no MPI
    (accelerate issue 2741). So it gets ``--multi_gpu``, and the processes learn from their environment to use the CPU.
    """
    if processes == 1:
        return [sys.executable]
    options = {
        "num_processes": processes,
        "num_machines": 1,
        "mixed_precision": "no",
        "dynamo_backend": "no",
        "main_process_port": 0,  # a free one, since tests may run at the same time
    }
    options = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    return [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", *options]


def environment():
    """Environment of a child process."""
    cpu = {"ACCELERATE_USE_CPU": "true", "CUDA_VISIBLE_DEVICES": ""}
    return os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"} | cpu


def end_group():
    """End the process group of a worker whose work is done.

    Models hold the group: its threads would outlive the interpreter, and abort the process now and then (PyTorch pull
    request 179291).
    """
    if torch.distributed.is_initialized():
        gc.collect()
        torch.distributed.destroy_process_group()
