"""The property list of a service for launchd, on macOS. Pure."""

import plistlib
from typing import Final

from runner.service.description import ServiceDescription

LABEL: Final = "steprun.serve"
_AGAIN_S: Final = 60  # launchd knows no limit of restarts: a refusal is repeated once a minute


def property_list(description: ServiceDescription) -> bytes:
    """Return the property list. The keys' source: launchd.plist(5)."""
    document = {
        "Label": LABEL,
        "ProgramArguments": list(description.argv),
        "EnvironmentVariables": dict(description.env),
        "RunAtLoad": True,
        "KeepAlive": {"SuccessfulExit": False},
        "ThrottleInterval": _AGAIN_S,
        "ExitTimeOut": description.stop_s,
        "ProcessType": "Interactive",  # others get less of the processor
        "StandardOutPath": str(description.log),
        "StandardErrorPath": str(description.log),
        "Umask": 0o077,
    }
    return plistlib.dumps(document, sort_keys=False)
