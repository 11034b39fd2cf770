"""Jobs on disk: what was asked for, how far it is, what came of it. Survives the process."""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa

QUEUED, RUNNING, DONE, FAILED, CANCELLED = "queued", "running", "done", "failed", "cancelled"
STATES = (QUEUED, RUNNING, DONE, FAILED, CANCELLED)
FINISHED = (DONE, FAILED, CANCELLED)

_METADATA = sa.MetaData()
_JOBS = sa.Table(
    "jobs",
    _METADATA,
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("owner", sa.String(64), nullable=False, index=True),
    sa.Column("state", sa.String(10), nullable=False, index=True),
    sa.Column("created_s", sa.Float, nullable=False),
    sa.Column("started_s", sa.Float),
    sa.Column("finished_s", sa.Float),
    sa.Column("attempts", sa.Integer, nullable=False, default=0),
    sa.Column("progress", sa.Float, nullable=False, default=0.0),
    sa.Column("stage", sa.String(40), nullable=False, default=""),
    sa.Column("request", sa.JSON, nullable=False),
    sa.Column("scenes", sa.JSON, nullable=False),
    sa.Column("error", sa.JSON),
)

Job = dict[str, Any]
"""A row: the columns above by name."""


class JobStore:
    """The table of jobs; one process at a time."""

    def __init__(self, file: Path) -> None:
        """Opens or creates the SQLite file."""
        file.parent.mkdir(parents=True, exist_ok=True)
        self._engine = sa.create_engine(
            sa.URL.create("sqlite", database=str(file)), connect_args={"timeout": 30}
        )

        @sa.event.listens_for(self._engine, "connect")
        def _set_up(connection: Any, _: Any) -> None:
            # Readers do not wait for the writer, and a power cut loses no committed job.
            connection.execute("PRAGMA journal_mode=WAL")

        _METADATA.create_all(self._engine)

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    @staticmethod
    def new_id() -> str:
        """An id that nobody guesses."""
        return uuid.uuid4().hex

    def add(self, job_id: str, owner: str, request: Any, scenes: Sequence[Any]) -> Job:
        """A new job, queued."""
        with self._engine.begin() as connection:
            connection.execute(
                _JOBS.insert().values(
                    id=job_id, owner=owner, state=QUEUED, created_s=time.time(), attempts=0,
                    progress=0.0, stage="", request=request, scenes=list(scenes),
                )
            )  # fmt: skip
        job = self.get(job_id)
        assert job is not None
        return job

    def get(self, job_id: str, owner: str | None = None) -> Job | None:
        """A job; None if there is none, or it is another owner's."""
        query = sa.select(_JOBS).where(_JOBS.c.id == job_id)
        if owner is not None:
            query = query.where(_JOBS.c.owner == owner)
        with self._engine.connect() as connection:
            row = connection.execute(query).mappings().first()
        return None if row is None else dict(row)

    def of_owner(self, owner: str, limit: int = 100) -> list[Job]:
        """The newest jobs of an owner."""
        query = sa.select(_JOBS).where(_JOBS.c.owner == owner).order_by(_JOBS.c.created_s.desc())
        with self._engine.connect() as connection:
            return [dict(row) for row in connection.execute(query.limit(limit)).mappings()]

    def take_next(self) -> Job | None:
        """The oldest queued job, which is running from now on."""
        oldest = sa.select(_JOBS.c.id).where(_JOBS.c.state == QUEUED).order_by(_JOBS.c.created_s)
        with self._engine.begin() as connection:
            job_id = connection.execute(oldest.limit(1)).scalar()
            if job_id is None:
                return None
            taken = connection.execute(
                _JOBS.update()
                .where(_JOBS.c.id == job_id, _JOBS.c.state == QUEUED)
                .values(state=RUNNING, started_s=time.time(), attempts=_JOBS.c.attempts + 1)
            )
            if not taken.rowcount:  # another thread was faster, or it was cancelled
                return None
        return self.get(job_id)

    def change(self, job_id: str, *, only_if: Sequence[str] = STATES, **values: Any) -> bool:
        """Set columns of a job that is in one of the states; whether it was."""
        if values.get("state") in FINISHED:
            values.setdefault("finished_s", time.time())
        with self._engine.begin() as connection:
            changed = connection.execute(
                _JOBS.update().where(_JOBS.c.id == job_id, _JOBS.c.state.in_(only_if))
                .values(**values)
            )  # fmt: skip
        return bool(changed.rowcount)

    def requeue_interrupted(self, most_attempts: int) -> list[str]:
        """Queue again what was running when the process ended; ids of those.

        A job that was begun too often fails instead: it may be what ends the process.
        """
        with self._engine.begin() as connection:
            running = _JOBS.c.state == RUNNING
            error = {
                "detail": f"the service ended {most_attempts} times while it worked on this job"
            }
            connection.execute(
                _JOBS.update().where(running, _JOBS.c.attempts >= most_attempts)
                .values(state=FAILED, finished_s=time.time(), error=error)
            )  # fmt: skip
            ids = list(connection.execute(sa.select(_JOBS.c.id).where(running)).scalars())
            connection.execute(_JOBS.update().where(running).values(state=QUEUED))
        return ids

    def counts(self) -> dict[str, float]:
        """Jobs in each state."""
        query = sa.select(_JOBS.c.state, sa.func.count()).group_by(_JOBS.c.state)
        with self._engine.connect() as connection:
            found = {str(state): float(count) for state, count in connection.execute(query)}
        return {state: found.get(state, 0.0) for state in STATES}

    def ids(self) -> set[str]:
        """Every job's id."""
        with self._engine.connect() as connection:
            return set(connection.execute(sa.select(_JOBS.c.id)).scalars())

    def remove_finished(self, before_s: float) -> list[str]:
        """Forget jobs that ended before a time (seconds since 1970); ids of those."""
        old = sa.and_(_JOBS.c.state.in_(FINISHED), _JOBS.c.finished_s < before_s)
        with self._engine.begin() as connection:
            ids = list(connection.execute(sa.select(_JOBS.c.id).where(old)).scalars())
            connection.execute(_JOBS.delete().where(old))
        return ids

    def remove(self, job_id: str) -> None:
        """Forget a job."""
        with self._engine.begin() as connection:
            connection.execute(_JOBS.delete().where(_JOBS.c.id == job_id))
