"""Owners: who runs upstreams, and what the platform keeps of what they sell."""

from typing import Annotated

from pydantic import Field

from gateway.settings.texts import BasisPoints, Otherwise, Shape


class OwnerShape(Shape):
    commission_bps: Annotated[
        BasisPoints | None,
        Otherwise("`commission_bps` of all"),
        Field(description="What the platform keeps of what this owner's routes take, in hundredths of a percent."),
    ] = None
