"""The bound on open connections: the choice of the one to close for a new one, and refusals."""

from lmx_daemon.http.server.connections import MAX_TURNED_AWAY, ConnectionLimit
from lmx_daemon.http.server.open_files import connections_within


class Connection:
    def __init__(self) -> None:
        self.aborted = False

    def abort(self) -> None:
        self.aborted = True


def admitted(limit: ConnectionLimit, count: int) -> list[Connection]:
    connections = [Connection() for _ in range(count)]
    assert all(limit.admit(connection) for connection in connections)
    return connections


def test_the_connection_that_has_waited_longest_is_closed_for_a_new_one() -> None:
    limit = ConnectionLimit(lambda: 3)
    first, second, third = admitted(limit, 3)
    limit.serve(first)
    limit.serve(second)
    limit.wait(first)
    (fourth,) = admitted(limit, 1)
    assert third.aborted and not first.aborted
    admitted(limit, 1)
    assert first.aborted and not second.aborted and not fourth.aborted


def test_a_new_connection_is_refused_if_all_others_are_served() -> None:
    limit = ConnectionLimit(lambda: 2)
    served = admitted(limit, 2)
    for connection in served:
        limit.serve(connection)
    assert not limit.admit(Connection())
    limit.remove(served[0])
    assert limit.admit(Connection()) and not any(connection.aborted for connection in served)


def test_number_of_refused_connections_with_an_answer_is_bounded() -> None:
    limit = ConnectionLimit(lambda: 1)
    refused = [Connection() for _ in range(MAX_TURNED_AWAY)]
    assert all(limit.turn_away(connection) for connection in refused)
    assert not limit.turn_away(Connection())
    limit.remove(refused[0])
    assert limit.turn_away(Connection())


def test_closed_connection_does_not_count_as_waiting_after_its_answer() -> None:
    limit = ConnectionLimit(lambda: 1)
    (closed,) = admitted(limit, 1)
    (other,) = admitted(limit, 1)
    limit.wait(closed)
    admitted(limit, 1)
    assert closed.aborted and other.aborted


def test_a_smaller_bound_closes_connections_that_wait() -> None:
    most = 4
    limit = ConnectionLimit(lambda: most)
    before = admitted(limit, 4)
    most = 2
    admitted(limit, 1)
    assert [connection.aborted for connection in before] == [True, True, True, False]


def test_bound_leaves_file_descriptors_for_the_rest_of_the_daemon() -> None:
    assert connections_within(2048, 10_240) == 2048
    assert connections_within(2048, 1024) == 512
    assert connections_within(2048, 256) == 128
