"""What all tests of this room share: gateways of theirs are started, too."""

from tests.stories.conftest import a_folder_of_its_own

__all__ = ["a_folder_of_its_own"]
