"""`python -m lmx_daemon`: the daemon, in the foreground."""

import sys

INTERRUPTED = 130

try:
    from lmx_daemon.main import main

    sys.exit(main(sys.argv[1:]))
except KeyboardInterrupt:  # it came before the daemon takes signals, among the imports
    sys.exit(INTERRUPTED)
