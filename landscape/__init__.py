"""landscape: the shape of a network's loss around a trained point, and how far each number can be trusted.

The public names stand in ``__init__.pyi``. A name is loaded on first use, so ``import landscape`` is cheap.
"""

import lazy_loader

from landscape._drawing import draw_with as _draw_with
from landscape._version import __version__ as __version__

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
__all__ += ["__version__"]
__all__.remove("open")  # `from landscape import *` leaves Python's own `open` alone
_draw_with(lambda result, figure: __getattr__("plots").figure_of(result, figure))
