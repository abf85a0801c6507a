"""What comes of making one account another one."""

from typing import Literal

Joined = Literal["joined", "one already", "an alias already", "frozen"]
NOT_JOINED: dict[Joined, str] = {
    "one already": "they are one account already",
    "an alias already": "it is an alias of another account already",
    "frozen": "one of them is frozen: what is frozen stays apart until it is unfrozen",
}
