from .base import POOLINGS as POOLINGS
from .base import Encoder as Encoder
from .base import Prepared as Prepared
from .base import single_batches as single_batches
from .callable import evaluated as evaluated
from .resolve import Options as Options
from .resolve import load_encoder as load_encoder
