"""`python -m lmx_daemon.engines.mlx`: the worker program of text models, one process for each loaded model."""

from lmx_daemon.engines.mlx.engine import open_engine
from lmx_daemon.worker.program import run

if __name__ == "__main__":
    run(open_engine)
