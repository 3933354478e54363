"""The few words in which the dashboards are written: a panel, a row, a dashboard, and the usual expressions.

Owns how things look, so that all dashboards look alike. Knows no metric by name.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, timeseries
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models.common import (
    BigValueGraphMode,
    LegendDisplayMode,
    LegendPlacement,
    TooltipDisplayMode,
    VisibilityMode,
)

DATASOURCE = models.DataSourceRef(type_val="prometheus", uid="${datasource}")
GRID_COLUMNS = 24
GRAPH_HEIGHT = 8
STAT_HEIGHT = 4

RATE = "$__rate_interval"
"""At least four scrapes: Grafana works it out from the data source's scrape interval."""


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel: `queries` are (expression, legend). A panel with one number is a `stat`."""

    title: str
    queries: Sequence[tuple[str, str]]
    unit: str = "short"
    about: str = ""
    """What a reader should conclude from it."""
    largest: float | None = None
    number: bool = False
    exemplars: bool = False
    """Single requests as points beside the lines, each with its id, where Prometheus keeps them."""


@dataclass(frozen=True, slots=True)
class Row:
    """Panels side by side, of equal width."""

    title: str
    panels: Sequence[Panel]


@dataclass(frozen=True, slots=True)
class Variable:
    """A choice at the top of the page: all values of a label of a metric."""

    name: str
    metric: str
    label: str


@dataclass(frozen=True, slots=True)
class Dashboard:
    """One page."""

    uid: str
    title: str
    about: str
    rows: Sequence[Row]
    variables: Sequence[Variable] = field(default_factory=tuple)


# -- expressions --


def rate(metric: str, selector: str, by: str) -> str:
    """Events per second of a counter."""
    return f"sum by ({by}) (rate({metric}{{{selector}}}[{RATE}]))"


def total(metric: str, selector: str, by: str) -> str:
    """The sum of a gauge."""
    return f"sum by ({by}) ({metric}{{{selector}}})"


def quantile(share: float, histogram: str, selector: str, by: str) -> str:
    """A quantile of what a histogram observed lately."""
    buckets = f"sum by (le, {by}) (rate({histogram}_bucket{{{selector}}}[{RATE}]))"
    return f"histogram_quantile({share:g}, {buckets})"


def latency(histogram: str, selector: str, by: str) -> list[tuple[str, str]]:
    """The median and the 95th percentile, as queries."""
    legend = "{{" + by + "}}"
    return [
        (quantile(0.5, histogram, selector, by), f"{legend} p50"),
        (quantile(0.95, histogram, selector, by), f"{legend} p95"),
    ]


# -- to Grafana's own types --


def build(page: Dashboard) -> models.Dashboard:
    """The dashboard as Grafana's library knows it."""
    builder = (
        dashboard.Dashboard(page.title)
        .uid(page.uid)
        .description(page.about)
        .tags(["vllm-gateway"])
        .timezone("browser")
        .time("now-1h", "now")
        .refresh("30s")
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .with_variable(dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus"))
        .link(
            dashboard.DashboardLink("vllm-gateway")
            .type(models.DashboardLinkType.DASHBOARDS)
            .tags(["vllm-gateway"])
            .keep_time(keep_time=True)
        )
    )
    for variable in page.variables:
        builder.with_variable(_variable(variable))
    for row in page.rows:
        builder.with_row(dashboard.Row(row.title))
        width = GRID_COLUMNS // len(row.panels)
        for panel in row.panels:
            builder.with_panel(_panel(panel, width))
    built = builder.build()
    for number, made in enumerate(built.panels or (), start=1):
        made.id_val = number
    return built


def _variable(variable: Variable) -> dashboard.QueryVariable:
    return (
        dashboard.QueryVariable(variable.name)
        .datasource(DATASOURCE)
        .query(f"label_values({variable.metric}, {variable.label})")
        .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(models.VariableSort.ALPHABETICAL_ASC)
        .multi(multi=True)
        .include_all(include_all=True)
        .all_value(".+")
        .current(models.VariableOption(selected=True, text=["All"], value=["$__all"]))
    )


def _panel(panel: Panel, width: int) -> Builder[models.Panel]:
    return _number(panel, width) if panel.number else _graph(panel, width)


def _graph(panel: Panel, width: int) -> timeseries.Panel:
    legend = (
        common.VizLegendOptions()
        .show_legend(show_legend=True)
        .display_mode(LegendDisplayMode.LIST)
        .placement(LegendPlacement.BOTTOM)
    )
    graph = (
        timeseries.Panel()
        .title(panel.title)
        .description(panel.about)
        .datasource(DATASOURCE)
        .unit(panel.unit)
        .min(0)
        .line_width(1)
        .fill_opacity(8)
        .show_points(VisibilityMode.NEVER)
        .legend(legend)
        .tooltip(common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI))
        .height(GRAPH_HEIGHT)
        .span(width)
    )
    if panel.largest is not None:
        graph.max(panel.largest)
    for query in _queries(panel):
        graph.with_target(query)
    return graph


def _number(panel: Panel, width: int) -> stat.Panel:
    number = (
        stat.Panel()
        .title(panel.title)
        .description(panel.about)
        .datasource(DATASOURCE)
        .unit(panel.unit)
        .graph_mode(BigValueGraphMode.AREA)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .height(STAT_HEIGHT)
        .span(width)
    )
    for query in _queries(panel):
        number.with_target(query)
    return number


def _queries(panel: Panel) -> list[prometheus.Dataquery]:
    queries = [
        prometheus.Dataquery().expr(expression).legend_format(legend).ref_id(chr(ord("A") + index))
        for index, (expression, legend) in enumerate(panel.queries)
    ]
    if panel.exemplars:
        queries[0].exemplar(exemplar=True)  # all queries of a panel would show the same ones
    return queries
