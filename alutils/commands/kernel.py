"""The kernel that a notebook is run in."""

from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from traitlets import default


class OwnKernel(AsyncKernelManager):
    """The kernel of this interpreter, whatever kernels are installed under the name ``python3``."""

    @default("kernel_spec_manager")
    def _without_installed_ones(self) -> KernelSpecManager:
        return KernelSpecManager(kernel_dirs=[])
