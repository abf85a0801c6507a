"""What there is of a person in the records of either kind: told to them, and erased for them."""

from gateway.adapters.personal.affected import AffectedRecords as AffectedRecords
from gateway.adapters.personal.erased import Erasure as Erasure
from gateway.adapters.personal.erased import kept as kept
from gateway.adapters.personal.parts import NOBODYS as NOBODYS
from gateway.adapters.personal.parts import PARTS as PARTS
from gateway.adapters.personal.told import PersonalRecords as PersonalRecords
