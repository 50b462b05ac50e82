"""What a server answers where it does not predict: the same messages as the command line, as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict

from starlette.responses import Response

from ptm.base.printable import json_text
from ptm.errors import ConfigError, DataError, OutOfMemory, Problem, PtmError

RETRY_SECONDS = 1


class Refused(Exception):
    """A request that is answered with a ``status`` and problems. ``exit_code``: what a command would have ended with;
    ``headers``: of the answer."""

    def __init__(
        self,
        status: int,
        problems: Problem | Sequence[Problem],
        *,
        exit_code: int = ConfigError.exit_code,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.status, self.exit_code = status, exit_code
        self.problems = [problems] if isinstance(problems, Problem) else list(problems)
        self.headers = dict(headers or {})
        super().__init__(self.problems[0].what)

    def response(self) -> Response:
        problems = [asdict(problem) for problem in self.problems]
        content = {"error": {"exit_code": self.exit_code, "problems": problems}}
        return json_response(json_text(content, None), self.status, self.headers)


def json_response(text: str, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(text.encode(), status, headers, media_type="application/json")


def hung_up(status: int, problem: Problem) -> Refused:
    """For a request that is not read to its end: the connection ends with the answer."""
    return Refused(status, problem, headers={"Connection": "close"})


def busy(what: str, exit_code: int = OutOfMemory.exit_code) -> Refused:
    """For what may go well later."""
    problem = Problem(what, expected="fewer requests at once", cure="send the request again later")
    return Refused(503, problem, exit_code=exit_code, headers={"Retry-After": str(RETRY_SECONDS)})


def refused(error: PtmError) -> Refused:
    """What a command would have said."""
    problems, code = error.problems, error.exit_code
    if isinstance(error, ConfigError | DataError):
        return Refused(422, problems, exit_code=code)
    if isinstance(error, OutOfMemory):
        return Refused(503, problems, exit_code=code, headers={"Retry-After": str(RETRY_SECONDS)})
    return Refused(500, problems, exit_code=code)
