from .embed import AnyDataset as AnyDataset
from .embed import add_embeddings as add_embeddings
from .embedder import EmbeddingJob as EmbeddingJob
from .embedder import Work as Work
from .forward import Forward as Forward
