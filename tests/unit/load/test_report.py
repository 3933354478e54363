"""What a report says of a load."""

import csv
from html.parser import HTMLParser
from pathlib import Path

import pytest

from loadtests.llm.measured import Timeline
from loadtests.report.run import Run
from loadtests.report.table import columns, rows, write_csv
from loadtests.report.wording import duration, findings, good_levels, measured, rate, share
from tests.unit.load.runs import BEGAN, chats, run, steps_that_get_slow


def test_levels_of_a_staircase_have_the_figures_of_their_settled_part() -> None:
    levels = run(steps_that_get_slow()).levels()
    assert [(level.users, level.seconds) for level in levels] == [(10, 12), (20, 12), (30, 12), (40, 12)]
    assert [level.per_s(level.seen.requests) for level in levels] == [1, 1, 1, 1]
    assert [level.per_s(level.seen.output_tokens) for level in levels] == [10, 10, 10, 10]
    ttfts = [level.seen.ttft.quantile(0.95) for level in levels]
    assert ttfts == [pytest.approx(ttft_s, rel=0.01) for ttft_s in (0.05, 0.1, 0.4, 3.0)]


def test_a_load_that_was_stopped_has_the_levels_that_it_reached() -> None:
    assert [level.seconds for level in run(steps_that_get_slow(), lasted_s=33).levels()] == [12, 5]
    assert run(steps_that_get_slow(), lasted_s=3).levels() == []


def test_over_time_there_are_windows_with_the_users_of_their_moment() -> None:
    burst = run(steps_that_get_slow(), shares=(0.5, 1.0, 0.5), seconds=60)
    windows = burst.windows()
    assert [window.users for window in windows] == [20] * 10 + [40] * 10 + [20] * 10
    assert {window.seconds for window in windows} == {2}
    assert len(run(Timeline(), seconds=3600, shares=(1.0, 1.0)).windows()) == 45


def test_the_levels_up_to_the_first_bad_one_are_good() -> None:
    slow = run(steps_that_get_slow())
    assert [level.users for level in good_levels(slow, slow.levels())] == [10, 20, 30]


def test_the_first_finding_says_how_far_the_target_is_kept() -> None:
    (found,) = findings(run(steps_that_get_slow()))
    assert found == (
        "TTFT p95 within 1 s is kept up to 30 users: 1.0 requests/s, 10 output tokens/s. "
        "With 40 users it is 3 s."
    )


def first_finding(given: Run) -> str:
    return next(findings(given))


def test_a_target_that_is_never_or_always_kept_is_said_so() -> None:
    never, always, nobody = Timeline(), Timeline(), Timeline()
    chats(never, 0, 80, 5.0)
    chats(always, 0, 80, 0.2)
    chats(nobody, 20, 80, 0.2)
    assert first_finding(run(never)).startswith(
        "TTFT p95 within 1 s is not kept even with 10 users: it is 5 s."
    )
    assert first_finding(run(always)).endswith(
        "That is the highest level there was, so the limit lies above it."
    )
    assert first_finding(run(nobody)).endswith("with 10 users: nobody was answered while the level counted.")


def test_a_level_with_failures_does_not_keep_the_target() -> None:
    timeline = Timeline()
    chats(timeline, 0, 80, 0.2)
    chats(timeline, 50, 51, 0.2, problem="status 503")
    first, second = findings(run(timeline))
    assert first.endswith("kept up to 20 users: 1.0 requests/s, 10 output tokens/s. "
                          "With 30 users 8 % of the requests fail.")  # fmt: skip
    assert second == "1 % of the requests failed (1 of 81)."


def test_over_time_the_worst_phase_counts() -> None:
    timeline = Timeline()
    chats(timeline, 0, 20, 0.1)
    chats(timeline, 20, 40, 2.0)
    chats(timeline, 40, 60, 0.1)
    assert first_finding(run(timeline, shares=(0.5, 1.0, 0.5), seconds=60)) == (
        "TTFT p95 is 2 s at worst, with 40 users from second 20 on: above the target of 1 s."
    )
    steady = first_finding(run(timeline, shares=(1.0,), seconds=20))
    assert steady == "TTFT p95 is 100 ms: within the target of 1 s."
    assert first_finding(run(Timeline(), shares=(1.0,))) == "Nobody was answered."


def test_a_busy_locust_is_a_reason_to_be_careful() -> None:
    timeline = steps_that_get_slow()
    timeline.used_cpu(BEGAN + 5, 97.0)
    assert list(findings(run(timeline)))[1].startswith("Locust used up to 97 % of a core")


def test_embedding_requests_are_measured_by_their_answer() -> None:
    timeline = Timeline()
    for second in range(80):
        timeline.answered(BEGAN + second, BEGAN + second + 0.2, 500, failed=False)
    embeddings = run(timeline, name="embeddings")
    assert first_finding(embeddings).startswith(
        "answer time p95 within 1 s is kept up to 40 users: 1.0 requests/s, 500 prompt tokens/s."
    )
    assert [column.group for column in columns(embeddings)].count("TTFT") == 0


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "-"),
        (0.0003, "< 1 ms"),
        (0.0404, "40 ms"),
        (0.456, "460 ms"),
        (1.234, "1.2 s"),
        (1234.5, "1,200 s"),
    ],
)
def test_durations_read_well(seconds: float | None, text: str) -> None:
    assert measured(seconds) == text


def test_what_was_chosen_is_said_as_it_was_chosen() -> None:
    assert [duration(seconds) for seconds in (0.125, 1.25, 3600)] == ["125 ms", "1.25 s", "3,600 s"]


def test_rates_and_shares_read_well() -> None:
    assert (rate(3.14), rate(1234.5)) == ("3.1", "1,234")
    assert (share(0, 9), share(1, 1000), share(1, 8)) == ("0 %", "0.1 %", "12 %")


def test_the_table_and_the_file_have_the_same_columns(tmp_path: Path) -> None:
    slow = run(steps_that_get_slow())
    write_csv(slow, tmp_path / "levels.csv")
    with (tmp_path / "levels.csv").open() as file:
        written = list(csv.DictReader(file))
    assert [row["users"] for row in written] == ["10", "20", "30", "40"]
    assert float(written[3]["ttft_p95"]) == pytest.approx(3.0, rel=0.01)
    assert float(written[0]["tokens_per_s_output"]) == 10
    assert {len(row) for row in rows(slow, slow.levels())} == {len(written[0])}


class Cells(HTMLParser):
    """Rows of tables, and what would be loaded from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.outside: list[str] = []
        self._in_cell = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.outside += [
            str(value) for name, value in attrs if name == "src" and not str(value).startswith("data:")
        ]
        if tag == "tr":
            self.rows.append([])
        self._in_cell = tag == "td"
        if self._in_cell:
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        if tag == "td":
            self._in_cell = False

    def handle_data(self, data: str) -> None:
        if self._in_cell:
            self.rows[-1][-1] += data


@pytest.mark.parametrize(
    ("name", "shares"),
    [("chat", (0.25, 0.5, 0.75, 1.0)), ("chat", (0.2, 1.0, 0.2, 1.0)), ("embeddings", (0.5, 1.0))],
)
def test_page_and_plot_are_whole_and_need_nothing_from_outside(
    name: str, shares: tuple[float, ...], tmp_path: Path
) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib comes with the extra `load`")
    from loadtests.report.folder import write

    timeline = steps_that_get_slow()
    chats(timeline, 30, 31, 0.1, problem="status 503")
    for second in range(80):
        timeline.answered(BEGAN + second, BEGAN + second + 0.2, 500, failed=False)
    given = run(timeline, name=name, shares=shares)
    folder = write(given, tmp_path / "reports", "<html>Locust's</html>")
    assert folder.parent == tmp_path / "reports"
    assert sorted(path.name for path in folder.iterdir()) == [
        *("levels.csv", "locust.html", "plot.png", "report.html")
    ]
    assert (folder / "plot.png").read_bytes().startswith(b"\x89PNG")
    text = (folder / "report.html").read_text(encoding="utf-8")
    page = Cells()
    page.feed(text)
    assert page.outside == []
    assert rows(given, given.levels())[-1] in page.rows
    assert ["3", "chat: status 503: <no replica>"] in page.rows
    assert "<b>qwen" not in text
    assert "&lt;b&gt;qwen" in text
