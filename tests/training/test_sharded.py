"""A model that FSDP shards over two processes trains by the curriculum and resumes."""

import json
import subprocess
from pathlib import Path

import pytest
from launching import environment, launch
from tiny import flat, scored

from hf_curriculum import CurriculumSampler
from hf_curriculum.training.checkpoint import newest_whole

pytestmark = pytest.mark.slow
WORKER = str(Path(__file__).parents[1] / "helpers" / "worker_sharded.py")


def rows_by_step(*words):
    command = [*launch(2), WORKER, *words]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    ranks = [json.loads(Path(words[0], f"rows-{rank}.json").read_text()) for rank in range(2)]
    assert all(rank["sharded"] for rank in ranks)
    return [flat(parts) for parts in zip(*(rank["rows"] for rank in ranks), strict=True)]


def test_a_sharded_model_sees_the_rows_of_the_curriculum_and_resumes(tmp_path):
    sampler = CurriculumSampler(scored()["difficulty"][:], total_batch_size=8, total_steps=6, seed=7)
    planned = [sampler.indices(step).tolist() for step in range(6)]
    assert rows_by_step(str(tmp_path)) == planned
    assert rows_by_step(str(tmp_path), str(tmp_path / "checkpoint-3")) == planned[3:]
    whole, damaged = tmp_path / "checkpoint-3", tmp_path / "checkpoint-6"
    files = {path.relative_to(damaged).as_posix() for path in damaged.rglob("*") if path.is_file()}
    shards = {name for name in files if name.endswith(".distcp")}
    assert len(shards) >= 4  # of weights and of the optimizer, by each process
    noted = json.loads((damaged / "checksums.json").read_text()).keys()
    assert {*shards, "rng_state_0.pth", "rng_state_1.pth", "trainer_state.json"} <= noted
    for name in shards:
        content = (damaged / name).read_bytes()
        (damaged / name).write_bytes(content[:-100] + bytes([content[-100] ^ 1]) + content[-99:])
        assert newest_whole(str(tmp_path)) == str(whole), name
        (damaged / name).write_bytes(content)
    assert newest_whole(str(tmp_path)) == str(damaged)
