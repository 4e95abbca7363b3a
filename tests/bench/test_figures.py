"""Percentiles, rounds and ratios, on answers whose times are known."""

from hypothesis import given
from hypothesis import strategies as st

from lmx_cli.bench.figures import Sample, first_token, gap, gaps, measure, median_of, percentile, rate, ratio, spread
from lmx_cli.bench.wire import TimedResponse
from lmx_daemon.storage.benchmark import Measurement, ServerResult

TIMES = st.lists(st.floats(0, 1e6), min_size=1)


def answer(sent: float, *pieces: float, error: str | None = None, cut: bool = False) -> TimedResponse:
    return TimedResponse(
        sent=sent, pieces=list(pieces), ended=pieces[-1] if pieces else sent, status=200, error=error, cut=cut
    )


class TestPercentile:
    def test_is_the_nearest_rank(self) -> None:
        ordered = [float(i) for i in range(1, 101)]
        assert [percentile(ordered, p) for p in (0.5, 0.95, 0.99, 1.0)] == [50, 95, 99, 100]

    def test_of_one_value(self) -> None:
        assert percentile([7.0], 0.01) == percentile([7.0], 0.99) == 7.0

    @given(TIMES, st.floats(0.01, 1))
    def test_is_a_value_that_so_many_do_not_exceed(self, values: list[float], fraction: float) -> None:
        found = percentile(sorted(values), fraction)
        assert found in values
        assert sum(value <= found for value in values) >= fraction * len(values) - 1e-9
        assert sum(value < found for value in values) < fraction * len(values)

    @given(TIMES)
    def test_a_spread_is_in_order(self, values: list[float]) -> None:
        found = spread(values)
        assert found is not None
        assert min(values) <= found.p50 <= found.p95 <= found.p99 <= found.longest == max(values)
        assert found.count == len(values)

    def test_of_nothing(self) -> None:
        assert spread([]) is None


class TestGaps:
    def test_between_pieces(self) -> None:
        assert gaps(answer(0, 1, 1.5, 4)) == [0.5, 2.5]

    def test_a_window_takes_whole_those_that_reach_into_it(self) -> None:
        assert gaps(answer(0, 1, 2, 5, 6, 7), window=(3, 5.5)) == [3, 1]

    def test_a_stream_that_still_waited_when_it_was_cut_counts_so_far(self) -> None:
        assert gaps(answer(0, 1, 2, cut=True), window=(1.5, 9)) == [1, 7]


class TestMeasure:
    def test_rate_is_over_all_streams_from_the_first_request_to_the_last_end(self) -> None:
        found = measure(Sample("x", [answer(10, 11, 12), answer(11, 12, 13, 14)]))
        assert (found.tokens, found.seconds, found.rate) == (5, 4, 1.25)
        assert found.first_token is not None and found.first_token.count == 2

    def test_the_servers_own_count_of_tokens_wins(self) -> None:
        counted = answer(0, 1, 2)
        counted.completion_tokens = 9
        assert measure(Sample("x", [counted])).tokens == 9

    def test_a_failed_answer_is_an_error_and_no_figure(self) -> None:
        found = measure(Sample("x", [answer(0, 1, 2), answer(0, 50, 99, error="gone")]))
        assert (found.requests, found.errors, found.error, found.tokens, found.seconds) == (2, 1, "gone", 2, 2)
        assert found.gap is not None and found.gap.longest == 1

    def test_all_failed(self) -> None:
        found = measure(Sample("x", [answer(0, error="refused")]))
        assert (found.errors, found.rate, found.first_token, found.gap, found.seconds) == (1, None, None, None, 0)

    def test_streams_that_were_cut_have_gaps_but_no_rate(self) -> None:
        found = measure(Sample("x", [answer(0, 1, 2, 3, cut=True)], window=(0, 3)))
        assert found.rate is None and found.errors == 0
        assert found.gap is not None and found.gap.count == 2


class TestRounds:
    def test_medians_and_sums(self) -> None:
        rounds = [measure(Sample("x", [answer(0, 1, 1 + step)]), memory) for step, memory in ((1, 5), (9, 7), (2, 6))]
        found = median_of(rounds)
        assert found.gap is not None
        assert (found.gap.p50, found.gap.count, found.requests, found.tokens, found.memory) == (2, 3, 3, 6, 7)

    def test_a_round_without_a_figure_is_left_out(self) -> None:
        good, bad = measure(Sample("x", [answer(0, 1, 2)])), measure(Sample("x", [answer(0, error="no")]))
        found = median_of([bad, good, bad])
        assert (found.rate, found.errors, found.error) == (1.0, 2, "no")

    def test_ratios_compare_rounds_that_ran_side_by_side(self) -> None:
        def outcome(name: str, *rates: float | None) -> ServerResult:
            rounds = tuple(Measurement(requests=1, rate=value) for value in rates)
            return ServerResult(server=name, median=median_of(rounds), rounds=rounds)

        # The machine was half as quick in the second round: for both.
        assert ratio(outcome("a", 200, 100, 220), outcome("b", 100, 50, 110), rate) == 2
        assert ratio(outcome("a", 200, None), outcome("b", None, 50), rate) is None
        assert ratio(outcome("a", 1), outcome("b", 1), first_token("p50")) is None
        assert ratio(outcome("a", 1), outcome("b", 1), gap("p99")) is None
