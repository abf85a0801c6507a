"""Every "no" of the API, in the shape in which Stripe says it.

An `ApiError` carries the status and the facts; `body()` is the JSON that the client libraries parse. One
constructor per reason keeps codes and parameters spelt the same wherever they are raised.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

DOCS = "https://docs.stripe.com/error-codes/"


class ApiError(Exception):
    """A request that is answered with an error object."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        type: str = "invalid_request_error",
        code: str | None = None,
        param: str | None = None,
        about: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.type = type
        self.code = code
        self.param = param
        #: What a declined payment leaves behind and tells: what the call made is kept then.
        self.about = about

    def body(self) -> dict[str, Any]:
        error: dict[str, Any] = {"message": self.message, "type": self.type}
        if self.code is not None:
            error["code"] = self.code
            error["doc_url"] = DOCS + self.code.replace("_", "-")
        if self.param is not None:
            error["param"] = self.param
        error.update(self.about or {})
        return {"error": error}


def invalid(message: str, param: str | None = None, code: str | None = None) -> ApiError:
    return ApiError(400, message, code=code, param=param)


def unknown_parameters(names: Sequence[str]) -> ApiError:
    noun = "parameter" if len(names) == 1 else "parameters"
    message = f"Received unknown {noun}: {', '.join(names)}"
    return invalid(message, names[0], "parameter_unknown")


def not_played(names: Sequence[str]) -> ApiError:
    noun = "parameter" if len(names) == 1 else "parameters"
    return invalid(f"Stripe knows the {noun} {', '.join(names)}, but this stand-in does not play it.", names[0])


def missing(param: str) -> ApiError:
    return invalid(f"Missing required param: {param}.", param, "parameter_missing")


def empty(param: str) -> ApiError:
    message = f"An empty string for '{param}' would unset it, and '{param}' cannot be unset."
    return invalid(message, param, "parameter_invalid_empty")


def not_an_integer(value: object, param: str) -> ApiError:
    return invalid(f"Invalid integer: {value}", param, "parameter_invalid_integer")


def no_such(kind: str, id: str, param: str = "id", status: int = 404) -> ApiError:
    return ApiError(status, f"No such {kind}: '{id}'", code="resource_missing", param=param)


def unrecognized(method: str, path: str) -> ApiError:
    return ApiError(404, f"Unrecognized request URL ({method}: {path}).")


def unauthorized(message: str) -> ApiError:
    return ApiError(401, message)


def outage() -> ApiError:
    return ApiError(500, "Something went wrong inside the stand-in; its log has the details.", type="api_error")


def too_many() -> ApiError:
    return ApiError(429, "Too many requests hit the API too quickly.", code="rate_limit")
