from .column import ColumnJob as ColumnJob
from .column import Work as Work
from .embed import AnyDataset as AnyDataset
from .embed import add_embeddings as add_embeddings
from .embedder import Embedder as Embedder
from .forward import Forward as Forward
from .shards import FULL as FULL
