"""What goes wrong in a database, in the words of our error tree: SQLAlchemy's exceptions end here."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, SQLAlchemyError, StatementError

from routeiq_plugin.errors import Conflict, InvalidRequest, Unavailable

RETRY_AFTER: Final = 2.0
"""Seconds after which a write is worth another try; a failover takes longer, a lock less."""


class DatabaseUnavailable(Unavailable):
    """The database cannot be used for now; `reason` is for operators, clients only learn that it is so."""

    def __init__(self, reason: str) -> None:
        super().__init__("the RouteIQ database is unavailable, try again", RETRY_AFTER)
        self.reason = reason

    def __str__(self) -> str:
        """Tell logs what clients are not told."""
        return f"the RouteIQ database is unavailable: {self.reason}"


@contextmanager
def translated() -> Iterator[None]:
    """Raise `Conflict`, `InvalidRequest` or `DatabaseUnavailable` for what the database or its driver raises."""
    try:
        yield
    except IntegrityError as error:
        raise Conflict("another object with this identity exists, or the rows are append-only") from error
    except (DataError, OverflowError, UnicodeEncodeError) as error:
        raise InvalidRequest("a value does not fit the database: too large, or not text") from error
    except DBAPIError as error:
        raise DatabaseUnavailable(_reason(error.orig or error)) from error
    except StatementError as error:
        if isinstance(error.orig, InvalidRequest):
            raise error.orig from None
        raise InvalidRequest(f"a value cannot be stored: {_reason(error.orig or error)}") from error
    except (SQLAlchemyError, OSError) as error:
        raise DatabaseUnavailable(_reason(error)) from error


def _reason(error: BaseException) -> str:
    """Name the failure in one line, without the statement and its parameters, which SQLAlchemy appends."""
    first, _, _ = str(error).partition("\n")
    return f"{type(error).__name__}: {first.strip()}"
