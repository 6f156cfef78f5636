"""The two vaults of the vectors: every kind of act lands once, every rule refuses something."""

from __future__ import annotations

from tests.fixed_draws import Draws
from tests.story import Story
from tests.story_after import after
from tests.story_invites import carrying
from tests.story_sale import sale

__all__ = ["carrying", "told"]


def told(draws: Draws) -> Story:
    """Tell the whole life of a vault, to its end."""
    story = Story(draws)
    sale(story)
    after(story)
    return story
