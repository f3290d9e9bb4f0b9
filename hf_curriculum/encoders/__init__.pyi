from .base import POOLINGS as POOLINGS
from .base import Encoder as Encoder
from .base import Prepared as Prepared
from .base import single_batches as single_batches
from .hub import module_of as module_of
from .hub import outputs_of as outputs_of
from .resolve import Options as Options
from .resolve import load_encoder as load_encoder
