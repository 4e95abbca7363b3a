"""The table [chats] of config.toml."""

from typing import Annotated

from msgspec import Meta

from lmx_daemon.settings.sections.section import Section, hot


class ChatSection(Section, frozen=True):
    """The table [chats]: the conversations that the daemon keeps for the TUI."""

    titles: Annotated[
        bool,
        hot(
            "Whether the model of a chat writes the chat's title after the first exchange. A title is written only "
            "while the model is in memory and no request runs."
        ),
    ] = True
    trash_days: Annotated[
        float,
        Meta(ge=0, le=3650),
        hot("Days after which a deleted chat is removed for good. Until then `lmx chats restore` brings it back."),
    ] = 30.0
