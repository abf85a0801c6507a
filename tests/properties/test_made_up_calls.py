"""Calls that nobody would think of, made up from our own OpenAPI documents: none fails inside, all answers conform.

Some are as the document says, some are wrong in one place. `GATEWAY_TORTURE=1` makes up many more.
"""

import asyncio
import os
from pathlib import Path
from typing import Any

import requests
import schemathesis
from aiohttp import ClientSession
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.security.company import OPERATOR, Company, company

TORTURE = bool(os.environ.get("GATEWAY_TORTURE"))
EXAMPLES = int(os.environ.get("FUZZ", 0)) or (400 if TORTURE else 10)
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
SECONDS_MAX = 30


def made_up(document: dict[str, Any], url: str, headers: dict[str, str]) -> dict[str, set[int]]:
    """How each operation answered: statuses by `METHOD path`. Raises all that schemathesis finds, together."""
    answers: dict[str, set[int]] = {}
    found: list[Exception] = []
    schema: Any = schemathesis.openapi.from_dict(document)
    with requests.Session() as session:
        session.headers.update(headers)
        for operation in schema.get_all_operations():
            one = operation.ok()
            try:
                answers[one.label] = tried(one, url, session)
            except Exception as error:  # (a group of failures, or one)
                found.append(error)
    if found:
        raise AssertionError("\n\n".join(f"{error}" for error in found))
    return answers


def tried(operation: Any, url: str, session: requests.Session) -> set[int]:
    """The statuses of made-up calls to one operation."""
    statuses: set[int] = set()
    right = operation.as_strategy(generation_mode=GenerationMode.POSITIVE)
    has_inputs = operation.body or operation.query or operation.path_parameters
    wrong = operation.as_strategy(generation_mode=GenerationMode.NEGATIVE) if has_inputs else right

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        derandomize=not TORTURE,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.generate,),
    )
    @given(case=right | wrong)
    def each(case: Any) -> None:
        answer = case.call(base_url=url, session=session, timeout=SECONDS_MAX, allow_redirects=False)
        statuses.add(answer.status_code)
        case.validate_response(answer, checks=CHECKS)

    each()
    return statuses


async def fetched(url: str, headers: dict[str, str]) -> dict[str, Any]:
    async with ClientSession() as session, session.get(url, headers=headers) as answer:
        assert answer.status == 200
        document: dict[str, Any] = await answer.json()
        return document


def admin_of(here: Company) -> str:
    host, port = here.here.stage.settings.admin
    return f"http://{host}:{port}"


async def test_no_made_up_call_of_an_operator_fails_inside(tmp_path: Path) -> None:
    async with company(tmp_path) as here:
        admin, headers = admin_of(here), {"Authorization": f"Bearer {OPERATOR}", "Gateway-Operator": "fuzz"}
        document = await fetched(admin + "/openapi.json", headers)
        answers = await asyncio.to_thread(made_up, document, admin, headers)
        assert all(200 in of for call, of in answers.items() if call.startswith("GET")), answers


async def test_no_made_up_call_of_a_caller_fails_inside(tmp_path: Path) -> None:
    async with company(tmp_path) as here:
        url, headers = here.here.stage.url, here.fields["holder"]
        document = await fetched(url + "/-/openapi.json", headers)
        answers = await asyncio.to_thread(made_up, document, url, headers)
        assert len(answers) > 20
