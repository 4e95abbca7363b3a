"""The fake engine with another answer, for tests of two engine kinds. Run by `python -m tests.worker.second_engine`."""

from lmx_daemon.worker.heartbeat import HeartbeatCounters
from lmx_daemon.worker.program import SendFrame, run
from tests.worker.fake_engine import FakeEngine


class SecondEngine(FakeEngine):
    """An engine that answers two words."""

    answer = ("second ", "engine")


def open_engine(send: SendFrame, counters: HeartbeatCounters) -> SecondEngine:
    return SecondEngine(send, counters)


if __name__ == "__main__":
    run(open_engine)
