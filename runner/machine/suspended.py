"""For how long this computer has slept: from two clocks of which one stands still meanwhile."""

import ctypes
import sys
import time


def suspended_s() -> float:
    """Return for how many seconds it has slept since it was started; 0 where nothing tells.

    Sources: clock_gettime(2) of Linux (CLOCK_MONOTONIC leaves suspension out, CLOCK_BOOTTIME does
    not) and of macOS (CLOCK_UPTIME_RAW and CLOCK_MONOTONIC); for Windows `GetTickCount64` and
    `QueryUnbiasedInterruptTime`, in ms and in 100 ns.
    """
    if sys.platform == "linux":
        return time.clock_gettime(time.CLOCK_BOOTTIME) - time.clock_gettime(time.CLOCK_MONOTONIC)
    if sys.platform == "darwin":
        return time.clock_gettime(time.CLOCK_MONOTONIC) - time.clock_gettime(time.CLOCK_UPTIME_RAW)
    if sys.platform == "win32":
        kernel, awake = ctypes.windll.kernel32, ctypes.c_ulonglong()
        kernel.GetTickCount64.restype = ctypes.c_ulonglong
        if kernel.QueryUnbiasedInterruptTime(ctypes.byref(awake)):
            return float(kernel.GetTickCount64()) / 1e3 - awake.value / 1e7
    return 0.0
