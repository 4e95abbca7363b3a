"""Tests of the environment of workers."""

from lmx_daemon.residency.workers.environment import worker_environment

GIVEN = {"PATH": "/bin", "HOME": "/h", "LC_ALL": "C", "MLX_METAL_JIT": "1", "CUDA_VISIBLE_DEVICES": "0"}
KEPT_BACK = {
    "LMX_API_KEY": "a",
    "HF_TOKEN": "b",
    "AWS_SECRET_ACCESS_KEY": "c",
    "OPENAI_API_KEY": "d",
    "SSH_AUTH_SOCK": "e",
    "HTTPS_PROXY": "http://user:password@proxy",
    "DATABASE_URL": "f",
}


def test_only_listed_variables_reach_a_worker() -> None:
    made = worker_environment(GIVEN | KEPT_BACK)
    assert made.items() >= GIVEN.items() and not made.keys() & KEPT_BACK.keys()
    assert set(made) - set(GIVEN) <= {"HF_HUB_OFFLINE", "PYTHONUNBUFFERED", "LD_PRELOAD", "OPENBLAS_NUM_THREADS"}
