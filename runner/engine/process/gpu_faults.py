"""What drivers of GPUs leave in an engine's log when a GPU fails or vanishes under it. Pure."""

import re
from typing import Final

from runner.base.text import clean

# The texts are the drivers' own, by way of llama.cpp's backends: CUDA's cudaGetErrorString (an
# unspecified launch failure is also what a card leaves that fell off the bus), ROCm's runtime
# ("HW Exception by GPU node-1 ... reason :GPU Hang"), Vulkan's VK_ERROR_DEVICE_LOST, and Metal's
# command buffers.
_LOST: Final = re.compile(
    r"(?i)GPU is lost|fallen off the bus|no CUDA-capable device|no ROCm-capable device"
    r"|unspecified launch failure|the launch timed out and was terminated|uncorrectable ECC error"
    r"|GPU Hang|ErrorDeviceLost|DeviceLostError|VK_ERROR_DEVICE_LOST"
    r"|kIOGPUCommandBufferCallbackError(?:Hang|Timeout)"
)


def gpu_fault(log_tail: str) -> str:
    """Return the line that tells of a GPU that failed, empty where none does.

    `log_tail`: the last lines before the end.
    """
    for line in reversed(log_tail.splitlines()):
        if _LOST.search(line[:2000]):
            return clean(line).strip()[:200]
    return ""
