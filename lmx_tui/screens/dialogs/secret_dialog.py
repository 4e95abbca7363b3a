"""SecretDialog: the secret of a new API key, which is shown once."""

from rich.text import Text

from lmx_daemon.contract.admin.keys import CreatedKey
from lmx_tui.formatting import one_line
from lmx_tui.messages import CopyRequested
from lmx_tui.screens.dialogs.text_dialog import TextDialog


class SecretDialog(TextDialog):
    """Dialog with the secret of a new API key, which is shown once."""

    HINT = "y copy the secret · esc close"

    def __init__(self, created: CreatedKey) -> None:
        super().__init__(f"API key {one_line(created.key.name)}")
        self._secret = created.secret

    def words(self, width: int) -> Text:
        return Text(self._secret, "bold").append("\n\nIt is shown only now: lmx keeps a hash of it.", "not bold")

    def action_copy(self) -> None:
        self.post_message(CopyRequested(self._secret, "API key"))
