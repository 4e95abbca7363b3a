"""Percentiles, rounds and ratios of responses with known times."""

from hypothesis import given
from hypothesis import strategies as st

from lmx_cli.bench.figures import (
    RoundResponses,
    first_token,
    gap,
    gaps,
    measure,
    median_of,
    percentile,
    rate,
    ratio,
    spread,
)
from lmx_cli.bench.wire import TimedResponse
from lmx_daemon.storage.benchmark import Measurement, ServerResult

TIMES = st.lists(st.floats(0, 1e6), min_size=1)


def response(sent: float, *pieces: float, error: str | None = None, cancelled: bool = False) -> TimedResponse:
    ended = pieces[-1] if pieces else sent
    return TimedResponse(sent=sent, pieces=list(pieces), ended=ended, status=200, error=error, cancelled=cancelled)


class TestPercentile:
    def test_percentile_is_the_nearest_rank(self) -> None:
        ordered = [float(i) for i in range(1, 101)]
        assert [percentile(ordered, p) for p in (0.5, 0.95, 0.99, 1.0)] == [50, 95, 99, 100]

    def test_percentile_of_one_value_is_that_value(self) -> None:
        assert percentile([7.0], 0.01) == percentile([7.0], 0.99) == 7.0

    @given(TIMES, st.floats(0.01, 1))
    def test_percentile_is_the_smallest_sufficient_value(self, values: list[float], fraction: float) -> None:
        found = percentile(sorted(values), fraction)
        assert found in values
        assert sum(value <= found for value in values) >= fraction * len(values) - 1e-9
        assert sum(value < found for value in values) < fraction * len(values)

    @given(TIMES)
    def test_spread_is_ordered(self, values: list[float]) -> None:
        found = spread(values)
        assert found is not None
        assert min(values) <= found.p50 <= found.p95 <= found.p99 <= found.longest == max(values)
        assert found.count == len(values)

    def test_spread_of_no_values_is_none(self) -> None:
        assert spread([]) is None


class TestGaps:
    def test_gaps_are_between_pieces(self) -> None:
        assert gaps(response(0, 1, 1.5, 4)) == [0.5, 2.5]

    def test_a_gap_that_overlaps_the_window_counts_whole(self) -> None:
        assert gaps(response(0, 1, 2, 5, 6, 7), window=(3, 5.5)) == [3, 1]

    def test_the_open_gap_of_a_cancelled_stream_ends_with_the_window(self) -> None:
        assert gaps(response(0, 1, 2, cancelled=True), window=(1.5, 9)) == [1, 7]


class TestMeasure:
    def test_rate_covers_all_streams_from_the_first_request_to_the_last_end(self) -> None:
        found = measure(RoundResponses("x", [response(10, 11, 12), response(11, 12, 13, 14)]))
        assert (found.tokens, found.seconds, found.rate) == (5, 4, 1.25)
        assert found.first_token is not None and found.first_token.count == 2

    def test_the_token_count_of_the_server_takes_precedence(self) -> None:
        counted = response(0, 1, 2)
        counted.completion_tokens = 9
        assert measure(RoundResponses("x", [counted])).tokens == 9

    def test_a_failed_response_counts_as_an_error_only(self) -> None:
        found = measure(RoundResponses("x", [response(0, 1, 2), response(0, 50, 99, error="gone")]))
        assert (found.requests, found.errors, found.error, found.tokens, found.seconds) == (2, 1, "gone", 2, 2)
        assert found.gap is not None and found.gap.longest == 1

    def test_figures_are_none_when_all_responses_failed(self) -> None:
        found = measure(RoundResponses("x", [response(0, error="refused")]))
        assert (found.errors, found.rate, found.first_token, found.gap, found.seconds) == (1, None, None, None, 0)

    def test_cancelled_streams_have_gaps_but_no_rate(self) -> None:
        found = measure(RoundResponses("x", [response(0, 1, 2, 3, cancelled=True)], window=(0, 3)))
        assert found.rate is None and found.errors == 0
        assert found.gap is not None and found.gap.count == 2


class TestRounds:
    def test_rounds_are_combined_as_medians_sums_and_maximum(self) -> None:
        rounds = [
            measure(RoundResponses("x", [response(0, 1, 1 + step)]), memory)
            for step, memory in ((1, 5), (9, 7), (2, 6))
        ]
        found = median_of(rounds)
        assert found.gap is not None
        assert (found.gap.p50, found.gap.count, found.requests, found.tokens, found.memory) == (2, 3, 3, 6, 7)

    def test_rounds_without_a_figure_are_ignored(self) -> None:
        good, bad = (
            measure(RoundResponses("x", [response(0, 1, 2)])),
            measure(RoundResponses("x", [response(0, error="no")])),
        )
        found = median_of([bad, good, bad])
        assert (found.rate, found.errors, found.error) == (1.0, 2, "no")

    def test_ratios_compare_rounds_pairwise(self) -> None:
        def result(name: str, *rates: float | None) -> ServerResult:
            rounds = tuple(Measurement(requests=1, rate=value) for value in rates)
            return ServerResult(server=name, median=median_of(rounds), rounds=rounds)

        # In the second round the machine ran at half speed, for both servers.
        assert ratio(result("a", 200, 100, 220), result("b", 100, 50, 110), rate) == 2
        assert ratio(result("a", 200, None), result("b", None, 50), rate) is None
        assert ratio(result("a", 1), result("b", 1), first_token("p50")) is None
        assert ratio(result("a", 1), result("b", 1), gap("p99")) is None
