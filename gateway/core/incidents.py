"""An incident: what is open since when, by whose clock, and what is to be said about it to whom.

It is kept on the trail and nowhere else: it is opened by an entry, everything that is done in it names it, and another
entry closes it. So its story cannot be changed afterwards, and it is proved by what proves the trail.

The clock is that of Article 33 of the GDPR: whoever watches over data protection is told within 72 hours after somebody
here became aware of a breach of personal data, or is told later why not. It begins with the entry that opened it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from gateway.core.trail import Step

KINDS = {
    "token": "a caller's token or session is in wrong hands",
    "key": "a key of this gateway, of Stripe, or of the database is in wrong hands",
    "personal_data": "somebody saw, lost or changed what is personal",
    "money": "money went where it should not, or the books do not add up",
    "outage": "it did not serve, or not as it should",
    "other": "none of these",
}
OPEN, NOTE, CLOSE = "incident.open", "incident.note", "incident.close"
NOTIFY_HOURS = 72
FACT = "incident"
"""Under this name what is done in an incident says in which."""
ROLES = (
    ("Lead", "decides, opens and closes the incident, keeps the clock"),
    ("Hands", "types the commands below; nobody else changes anything while it is open"),
    ("Scribe", "writes down what is found and decided: `gateway incident note`"),
    ("Voice", "tells accounts, the authority, Stripe and the acquirer; nobody else does"),
)
STEPS = (
    ("Stop it", "gateway incident revoke …; gateway incident freeze …; gateway incident rotate --all"),
    ("Keep the evidence", "gateway incident bundle --out FILE, before anything is deleted or restarted"),
    ("Prove the rest", "gateway audit; gateway audit verify"),
    ("Find who is affected", "gateway incident affected --from … --to … --csv"),
    ("Tell", "the authority within 72 hours if people are at risk; the people without delay if the risk is high"),
    ("Mend and review", "gateway incident plan --review; gateway incident close"),
)


@dataclass(frozen=True, slots=True)
class Incident:
    """One of them, as the trail tells it."""

    id: str
    kind: str
    note: str
    opened_ms: int
    closed_ms: int | None = None
    conclusion: str = ""

    @property
    def notify_by_ms(self) -> int:
        return self.opened_ms + NOTIFY_HOURS * 3_600_000


def told_by(steps: Iterable[Step]) -> dict[str, Incident]:
    """By id; entries may come in any order and have others among them."""
    found: dict[str, Incident] = {}
    for step in sorted(steps, key=lambda one: one.number):
        act = step.act
        if act.action == OPEN:
            found[act.object] = Incident(act.object, act.facts["kind"], act.reason, step.at_ms)
        elif act.action == CLOSE and act.object in found:
            found[act.object] = replace(found[act.object], closed_ms=step.at_ms, conclusion=act.reason)
    return found


def clock(incident: Incident, *, now_ms: int) -> str:
    """How much of the time is left in which the authority is to be told."""
    left_ms = incident.notify_by_ms - now_ms
    hours, minutes = divmod(abs(left_ms) // 60_000, 60)
    time, by = f"{hours} h {minutes:02} min", _moment(incident.notify_by_ms)
    return f"{time} left, until {by}" if left_ms >= 0 else f"over since {time} ({by})"


def plan(incident: Incident | None, *, now_ms: int) -> str:
    """What is to be done, by whom, and when at the latest; as Markdown."""
    head = ["# Incident plan"]
    if incident is not None:
        head += [
            "",
            f"- Incident: {incident.id}, {incident.kind} ({KINDS[incident.kind]})",
            f"- Opened: {_moment(incident.opened_ms)}",
            f"- The authority is told by: {clock(incident, now_ms=now_ms)}",
            f"- What was seen first: {incident.note}",
        ]
    roles = [f"| {role} | {duty} | |" for role, duty in ROLES]
    steps = [f"{number}. **{name}**: `{what}`" for number, (name, what) in enumerate(STEPS, 1)]
    return "\n".join([
        *head, "", "## Roles", "", "| role | does | who |", "|---|---|---|", *roles, "", "## Steps", "", *steps, "",
    ])  # fmt: skip


def notice_to_authority(incident: Incident, *, accounts: int, contacts: int, now_ms: int) -> str:
    """What Article 33 asks for. Whatever is not known here is for the Voice to fill in."""
    return "\n".join([
        "# Notice to the supervisory authority", "",
        f"- Reference: {incident.id}",
        f"- Became aware: {_moment(incident.opened_ms)}; this notice: {_moment(now_ms)}"
        f"{'' if now_ms <= incident.notify_by_ms else ' (later than 72 hours, because: …)'}",
        f"- Nature: {KINDS[incident.kind]}. {incident.note}",
        f"- Concerned: about {accounts} accounts, of {contacts} of which we know an address",
        "- Data concerned: ids of accounts and tokens, requests and amounts; e-mail address and name where known. "
        "No card data: the gateway never has any.",
        "- Likely consequences: …",
        "- Taken and proposed: tokens revoked, accounts frozen, keys rotated (see the evidence); …",
        "- Contact: …", "",
    ])  # fmt: skip


def letter_to_holder(incident: Incident, *, account: str) -> str:
    """What whoever holds an account is told; plain text."""
    return "\n".join([
        "Subject: About the security of your account", "",
        f"On {_moment(incident.opened_ms)} we became aware of an incident that concerns your account {account}.", "",
        f"What happened: {KINDS[incident.kind]}.",
        "What we have done: access that may be in wrong hands has been ended.",
        "What you can do: make a new token, and look at your statement for requests that are not yours.",
        "Your card is not concerned: its data never reach us.", "",
        f"Reference: {incident.id}. Questions: …", "",
    ])  # fmt: skip


def review(incident: Incident, timeline: Sequence[str]) -> str:
    """What is asked afterwards, with what was done already written down."""
    end = _moment(incident.closed_ms) if incident.closed_ms is not None else "still open"
    questions = (
        "What let it happen? Ask why until the answer is something that can be changed.",
        "What found it, and how much earlier could it have been found?",
        "What went well, and what was in the way?",
        "What is changed, by whom, until when? Each with a test that fails without it.",
    )
    asked = [line for question in questions for line in (f"## {question}", "", "…", "")]
    return "\n".join([
        f"# Review of {incident.id}", "", f"{incident.kind}; {_moment(incident.opened_ms)} to {end}", "",
        "## What was done", "", *(f"- {line}" for line in timeline), "", *asked,
    ])  # fmt: skip


def timeline(steps: Iterable[Step], id: str) -> list[str]:
    """What of the trail was done in an incident, in words."""
    lines = []
    for step in sorted(steps, key=lambda one: one.number):
        act = step.act
        if act.object == id or act.facts.get(FACT) == id:
            parts = (_moment(step.at_ms), act.actor, act.action, act.object, _facts(act.facts))
            lines.append(" ".join(part for part in parts if part) + (f": {act.reason}" if act.reason else ""))
    return lines


def _facts(facts: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in facts.items() if name != FACT)


def _moment(at_ms: int) -> str:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=at_ms)).strftime("%Y-%m-%d %H:%M UTC")
