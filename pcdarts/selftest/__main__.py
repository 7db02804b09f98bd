"""`python -m pcdarts.selftest`: as `pcdarts selftest`, without the orchestrator."""

import sys

from pcdarts.selftest.kit import main

sys.exit(main())
