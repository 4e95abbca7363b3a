"""`python -m lmx_daemon`: the daemon, in the foreground."""

import sys

from lmx_daemon.main import main

sys.exit(main(sys.argv[1:]))
