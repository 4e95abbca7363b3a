"""Tests of the guard of skips."""

import pytest

from tests.skips import allowed_reasons, unlisted

pytest_plugins = ["pytester"]


def test_every_listed_reason_matches_itself_only_as_a_whole() -> None:
    assert unlisted(["numpy takes part on a CPU only"], allowed_reasons()) == []
    assert unlisted(["numpy takes part on a CPU only, or so"], allowed_reasons()) != []


@pytest.mark.parametrize(("reason", "code"), [("mounting is not allowed", 0), ("no time today", 1)])
def test_a_run_with_an_unlisted_skip_fails(pytester: pytest.Pytester, reason: str, code: int) -> None:
    pytester.makeconftest(
        "from tests.skips import SkipGuard\ndef pytest_configure(config): config.pluginmanager.register(SkipGuard())"
    )
    pytester.makepyfile(f"import pytest\ndef test_done(): pass\ndef test_skipped(): pytest.skip({reason!r})")
    assert pytester.runpytest_subprocess("-p", "no:cacheprovider").ret == code


@pytest.mark.parametrize(("reason", "code"), [("mounting is not allowed", 0), ("no time today", 1)])
def test_module_that_is_skipped_in_a_process_of_xdist_fails_the_run(
    pytester: pytest.Pytester, reason: str, code: int
) -> None:
    pytester.makeconftest(
        "from tests.skips import SkipGuard\ndef pytest_configure(config): config.pluginmanager.register(SkipGuard())"
    )
    pytester.makepyfile(
        test_one="def test_done(): pass",
        test_two=f"import pytest\npytest.skip({reason!r}, allow_module_level=True)",
    )
    assert pytester.runpytest_subprocess("-p", "no:cacheprovider", "-n", "1").ret == code
