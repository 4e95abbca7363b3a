"""Settings, API keys and presets that tests of the TUI show."""

from lmx_daemon.contract.admin.config import ConfigRow
from lmx_daemon.contract.admin.keys import ApiKey
from lmx_daemon.contract.generation.preset import Preset, PresetRow, PresetSampling
from tests.screen_states import NOW, QWEN

CONFIG = (
    ConfigRow(
        key="server.port",
        section="server",
        name="port",
        type="integer from 0 to 65535",
        reload="restart",
        help="Port that clients use.",
        default=1234,
        value=1234,
        variable="LMX_SERVER_PORT",
    ),
    ConfigRow(
        key="memory.limit",
        section="memory",
        name="limit",
        type='"auto" or text',
        reload="hot",
        help='Memory that lmx plans to use: "auto", a share such as "75%", or a size such as "48GB".',
        default="auto",
        value="96GB",
        source="file",
        place="line 3",
        is_set=True,
        variable="LMX_MEMORY_LIMIT",
    ),
    ConfigRow(
        key="history.failed_requests",
        section="history",
        name="failed_requests",
        type="boolean",
        reload="hot",
        help="Whether requests that fail are kept with their text for a day.",
        default=False,
        value=False,
    ),
    ConfigRow(
        key="server.api_key",
        section="server",
        name="api_key",
        type="text",
        reload="hot",
        secret=True,
        is_set=True,
        help="Key that clients of other machines send.",
        source="environment",
        place="LMX_SERVER_API_KEY",
    ),
    ConfigRow(
        key="tui.symbols",
        section="tui",
        name="symbols",
        type="text",
        choices=("braille", "block", "ascii"),
        reload="tui",
        help="Characters that graphs and bars are drawn with.",
        default="braille",
        value="braille",
    ),
    ConfigRow(
        key="tui.keymap",
        section="tui",
        name="keymap",
        type="table of texts",
        reload="tui",
        help="Keys by the name of their action.",
        default={},
        value={"models.unload": "X"},
        source="file",
    ),
)
API_KEYS = (
    ApiKey(
        id="k3", name="claude on the laptop", scopes=("infer", "read"), created_at=NOW - 86400 * 9, used_at=NOW - 900
    ),
    ApiKey(id="k1", name="ci", scopes=("infer",), created_at=NOW - 86400 * 30, expires_at=NOW + 86400, rate=60),
)
PRESETS = (
    PresetRow(name="coder", preset=Preset(model=QWEN, sampling=PresetSampling(temperature=0.2, top_p=0.9))),
    PresetRow(name="broken", problem="temperature must be a number from 0 to 2, not 9"),
)  # fmt: skip
