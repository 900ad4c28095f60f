"""What a data set says when it is asked. DuckDB does the work; an answer is plain rows.

    fleet = Fleet(place, since=None, until=None)
    fleet.overview(), .groups(by), .over_time(by, every_s), .templates(n), .failures(n), .copies(n), .storms(rate)

null means that no trace could see it. Rates are births of the traces' own time, not of the wall clock between traces:
"a second" divides by the time that somebody watched. Pages are of 4 KiB, whatever
the machine: larger ones count as several (rebuild.py). Knows no terminal.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from tracer.errors import BadDataError, UsageError
from tracer.fleet.places import Place

BY: Final = {
    "host": "host",
    "unit": "coalesce(unit, container, '-')",
    "container": "coalesce(container, '-')",
    "user": "coalesce(cast(uid as varchar), '-')",
    "program": "coalesce(program, comm, '-')",
    "template": "coalesce(template, '-')",
}
"""What processes can be grouped by."""

STORM_TIMES: Final = 5  # a second of a storm has that many times the births of the host's median second that has any
STORM_S: Final = 3  # and a storm lasts so long, with no pause longer than two seconds
STORM_RATE: Final = 100.0


@dataclass(frozen=True)
class Answer:
    """Rows under names. The names' endings are their units: _ns, _bytes, _pages, _s; `per_s` is a rate."""

    name: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]

    def dicts(self) -> list[dict[str, Any]]:
        """For JSON: times as ISO 8601, UTC."""
        return [{name: _plain(value) for name, value in zip(self.columns, row, strict=True)} for row in self.rows]


class Fleet:
    """An opened data set. Raises UsageError without duckdb, BadDataError when there is nothing in it."""

    def __init__(
        self, place: Place, since: datetime.datetime | None = None, until: datetime.datetime | None = None
    ) -> None:
        try:
            import duckdb
        except ImportError:
            raise UsageError("duckdb can not be imported", "pip install 'forktrace[fleet]'") from None
        self._db = duckdb.connect(":memory:")
        window = " and ".join(
            f"ts {sign} timestamp '{when:%Y-%m-%d %H:%M:%S.%f}'"
            for sign, when in ((">=", since), ("<", until))
            if when is not None
        )
        for table in ("processes", "troubles", "traces"):
            # A data set without any trouble has no such files, and the questions need the columns all the same.
            files = place.files(table)
            if not files and table != "troubles":
                raise BadDataError(f"{place.url} is no data set: it has no {table}", "name the folder of the traces")
            self._db.register(f"all_{table}", _dataset(place, files) if files else _no_troubles())
            # A trace that began before the window was watched in it all the same
            where = f" where {window}" if window and table != "traces" else ""
            self._db.execute(f"create view {table} as select * from all_{table}{where}")
        self._watched(since, until)

    def close(self) -> None:
        """Let go of the data set. Nothing can be asked afterwards."""
        self._db.close()

    def _watched(self, since: datetime.datetime | None, until: datetime.datetime | None) -> None:
        """How long each host was watched: of two traces at the same time, the time counts once."""
        low = f"greatest(ts, timestamp '{since:%Y-%m-%d %H:%M:%S.%f}')" if since else "ts"
        high = f"least(ended, timestamp '{until:%Y-%m-%d %H:%M:%S.%f}')" if until else "ended"
        self._db.execute(f"""
            create table watched as
            with spans as (select host, {low} as a, {high} as b from traces where {high} > {low}),
            starts as (select *, max(b) over (partition by host order by a rows between unbounded preceding
                       and 1 preceding) as before from spans),
            islands as (select *, sum(case when before is null or a > before then 1 else 0 end)
                        over (partition by host order by a) as island from starts)
            select host, sum(epoch_us(b) - epoch_us(a)) / 1e6 as seconds from (
                select host, island, min(a) as a, max(b) as b from islands group by host, island) group by host
        """)

    def overview(self) -> Answer:
        """A row a host."""
        return self._ask(
            "hosts",
            f"""
            with seconds as (select host, count(*) as n from processes where born
                             group by host, date_trunc('second', ts)),
            peaks as (select host, max(n) as peak from seconds group by host),
            seen as (select host, count(*) as traces, sum(1 - whole::int) as torn,
                     min(ts) as began, max(ended) as ended, bool_or(sees_failures) as failures
                     from traces group by host),
            lost as (select host, sum("count") filter (kind = 'lost') as lost,
                     count(*) filter (kind = 'fork_failed') as failed from troubles group by host)
            select seen.host, traces, torn, began, ended, watched.seconds as watched_s, {_FIGURES},
                   count(*) filter (born) / nullif(watched.seconds, 0) as forks_per_s, any_value(peak) as peak_per_s,
                   case when any_value(failures) then coalesce(any_value(failed), 0) end as failed_forks,
                   coalesce(any_value(lost), 0) as lost
            from seen left join processes using (host) left join watched using (host)
                 left join peaks using (host) left join lost using (host)
            group by seen.host, traces, torn, began, ended, watched.seconds order by forks desc, seen.host
        """,
        )

    def groups(self, by: str, most: int = 10) -> Answer:
        """The busiest groups."""
        return self._ask(
            "groups",
            f"""
            select {_by(by)} as "group", count(distinct host) as hosts, {_FIGURES}
            from processes group by 1 order by forks desc, 1 limit {int(most)}
        """,
        )

    def over_time(self, by: str, every_s: int, most: int = 10) -> Answer:
        """Births of the busiest groups in each bucket of time that has any."""
        return self._ask(
            "over_time",
            f"""
            with named as (select {_by(by)} as "group", ts, born, cow_copies from processes),
            busiest as (select "group" from named where born group by 1 order by count(*) desc, 1 limit {int(most)})
            select "group", time_bucket(interval '{int(every_s)} seconds', ts) as ts, count(*) filter (born) as forks,
                   sum(cow_copies)::bigint as copied_pages
            from named where "group" in (select "group" from busiest) group by 1, 2 order by 1, 2
        """,
        )

    def templates(self, most: int = 10) -> Answer:
        """Commands, what differs from run to run left out."""
        return self._ask(
            "templates",
            f"""
            select coalesce(template, '-') as template, count(distinct host) as hosts, {_FIGURES},
                   median(life_ns)::bigint as life_ns
            from processes group by 1 order by forks desc, 1 limit {int(most)}
        """,
        )

    def failures(self, most: int = 10) -> Answer:
        """Programs that end badly, and forks and execs that fail, with the cause where it is known."""
        return self._ask(
            "failures",
            f"""
            select * from (
                select 'exit' as what, coalesce(program, comm, '-') as program,
                       coalesce(signal, 'exit ' || exit_code) as how, null as cause,
                       count(distinct host) as hosts, count(*) as times
                from processes where signal is not null or exit_code <> 0 group by all
                union all
                select kind, null, error, cause, count(distinct host), sum("count")::bigint from troubles
                where kind <> 'lost' group by all
            ) order by times desc, what, program, how, cause limit {int(most)}
        """,
        )

    def copies(self, most: int = 10) -> Answer:
        """Where copied pages went. Empty when no trace counted any."""
        return self._ask(
            "copies",
            f"""
            select host, coalesce(unit, container, '-') as unit, coalesce(program, comm, '-') as program,
                   count(*) as processes, sum(cow_copies)::bigint as copied_pages, max(cow_copies) as most_pages
            from processes where cow_copies > 0 group by all order by copied_pages desc, host, unit, program
            limit {int(most)}
        """,
        )

    def storms(self, rate: float = STORM_RATE) -> Answer:
        """Times in which a host had `rate` births a second and many times its own usual number; who led each."""
        return self._ask(
            "storms",
            f"""
            with seconds as (select host, date_trunc('second', ts) as s, count(*) as n from processes where born
                             group by all),
            usual as (select host, median(n) as m from seconds group by host),
            hot as (select seconds.*, m from seconds join usual using (host)
                    where n >= {float(rate)} and n >= {STORM_TIMES} * m),
            marked as (select *, case when s - lag(s) over (partition by host order by s) <= interval 3 seconds
                       then 0 else 1 end as fresh from hot),
            islands as (select *, sum(fresh) over (partition by host order by s) as island from marked),
            storms as (select host, island, min(s) as began, max(s) + interval 1 second as ended, max(n) as peak,
                       any_value(m) as m from islands group by host, island),
            lasting as (select * from storms where ended - began >= interval '{STORM_S} seconds'),
            led as (select l.host, l.island, coalesce(p.template, '-') as template,
                    coalesce(p.unit, p.container) as unit, count(*) as n
                    from lasting l join processes p on p.host = l.host and p.born and p.ts >= l.began and p.ts < l.ended
                    group by all),
            sums as (select host, island, sum(n) as forks, arg_max(template, n) as template, arg_max(unit, n) as unit,
                     max(n) as most from led group by host, island)
            select host, began, (epoch_us(ended) - epoch_us(began)) / 1e6 as lasted_s, forks::bigint as forks,
                   peak as peak_per_s, m as usual_per_s, template, unit, most / forks as share
            from lasting join sums using (host, island) order by began, host
        """,
        )

    def _ask(self, name: str, sql: str) -> Answer:
        got = self._db.execute(sql)
        columns = tuple(column[0] for column in got.description)
        return Answer(name, columns, tuple(map(tuple, got.fetchall())))


# Of a group of processes. A sum over what nobody measured is null by SQL's own rule.
_FIGURES: Final = """
    count(*) filter (born) as forks,
    case when count(exit_code) + count(signal) > 0
         then count(*) filter (signal is not null or exit_code <> 0) end as failed,
    sum(cpu_ns)::bigint as cpu_ns, sum(fork_ns)::bigint as fork_ns, sum(cow_copies)::bigint as copied_pages,
    count(zombie_ns) filter (zombie_ns > 0) as zombies, max(zombie_ns) as longest_zombie_ns
"""


def _by(by: str) -> str:
    if by not in BY:
        raise UsageError(f"processes can not be grouped by {by!r}", f"choose one of: {', '.join(BY)}")
    return BY[by]


def _dataset(place: Place, files: Sequence[str]) -> Any:
    import pyarrow as pa
    import pyarrow.dataset as ds
    from pyarrow.fs import FSSpecHandler, PyFileSystem

    parts = ds.partitioning(pa.schema([("host", pa.string()), ("day", pa.string())]), flavor="hive")
    paths = [f"{place.root}/{path}" for path in files]
    protocol = place.fs.protocol
    here = "file" in (protocol if isinstance(protocol, tuple) else (protocol,))
    # Arrow reads ahead on threads of its own: they must not need this interpreter, which may be ending meanwhile
    files_of = None if here else PyFileSystem(FSSpecHandler(place.fs))
    return ds.dataset(paths, filesystem=files_of, format="parquet", partitioning=parts)


def _no_troubles() -> Any:
    import pyarrow as pa

    text = ("host", "day", "trace", "kind", "error", "cause")
    fields = [
        *((name, pa.string()) for name in text),
        ("ts", pa.timestamp("us")),
        ("pid", pa.int64()),
        ("count", pa.int64()),
    ]
    return pa.schema(fields).empty_table()


def _plain(value: Any) -> Any:
    return value.isoformat() + "Z" if isinstance(value, datetime.datetime) else value
