"""Checksums of a checkpoint's files: a flipped bit in a weight leaves a file that can be read."""

import json
from pathlib import Path

import xxhash

from hf_curriculum.files import appears_whole

CHECKSUMS = "checksums.json"
_FILES = ("*.pt", "*.bin", "*.index.json", "rng_state.pth", "trainer_state.json", "curriculum*")
_OF_PROCESS = ("rng_state_{}.pth", "*/__{}_*.distcp")  # generators, and shards of torch.distributed.checkpoint
_BLOCK = 2**20  # bytes


def checksums_of(checkpoint: Path, process: int) -> dict[str, str]:
    """Checksums of the files that one process alone has written; it still holds them in memory.

    Args:
        checkpoint: Its folder.
        process: Number of the process.

    Returns:
        The checksums by the names of files, relative to the folder.
    """
    return _checksums(checkpoint, [path for name in _OF_PROCESS for path in checkpoint.glob(name.format(process))])


def write_checksums(checkpoint: Path, of_processes: dict[str, str]) -> None:
    """Note what was written; every file is read once more, while the system still holds it in memory.

    Args:
        checkpoint: Its folder.
        of_processes: From :func:`checksums_of`, of all processes; those of files on other machines are left out.
    """
    files = [*checkpoint.rglob("*.safetensors"), *(path for name in _FILES for path in checkpoint.glob(name))]
    there = {name: checksum for name, checksum in of_processes.items() if (checkpoint / name).is_file()}
    with appears_whole(checkpoint / CHECKSUMS) as file:
        file.write(json.dumps(_checksums(checkpoint, files) | there, indent=2).encode())


def read_checksums(checkpoint: Path) -> dict[str, str]:
    """Checksums by the names of files; empty for a checkpoint that has none.

    Args:
        checkpoint: Its folder.

    Returns:
        The checksums.

    Raises:
        ValueError: If their file is damaged.
    """
    file = checkpoint / CHECKSUMS
    found = json.loads(file.read_bytes()) if file.is_file() else {}
    if not isinstance(found, dict):
        raise ValueError(f"a {type(found).__name__}, not an object")
    return found


def require_same(file: Path, checksum: str) -> None:
    """Raise unless a file is what was written.

    Args:
        file: Of a checkpoint.
        checksum: From :func:`read_checksums`.

    Raises:
        ValueError: If it is not.
    """
    if _checksum(file) != checksum:
        raise ValueError(f"it is not what was written; if you have changed it yourself, delete {CHECKSUMS}")


def _checksums(checkpoint: Path, files: list[Path]) -> dict[str, str]:
    return {path.relative_to(checkpoint).as_posix(): _checksum(path) for path in sorted({*files})}


def _checksum(file: Path) -> str:
    found, block = xxhash.xxh3_128(), memoryview(bytearray(_BLOCK))
    with file.open("rb", buffering=0) as opened:
        while read := opened.readinto(block):
            found.update(block[:read])
    return found.hexdigest()
