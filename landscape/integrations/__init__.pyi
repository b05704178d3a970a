from .hugging_face import HuggingFaceCallback as HuggingFaceCallback
from .lightning import LightningCallback as LightningCallback
from .plain import Tracker as Tracker
from .quantities import Quantities as Quantities
from .tracker import Held as Held
from .tracker import Options as Options
