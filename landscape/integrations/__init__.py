"""Follow the shape of the loss while a net is trained: in Lightning, in Hugging Face's Trainer, in a loop of one's own.

A package such as ``lightning`` is imported only if its callback is.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
