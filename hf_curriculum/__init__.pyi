__version__: str

from .data import provenance as provenance
from .data import save_sorted as save_sorted
from .embedding import Embedder as Embedder
from .embedding import add_embeddings as add_embeddings
from .scoring import DifficultyScorer as DifficultyScorer
from .scoring import Scores as Scores
from .scoring import add_difficulty as add_difficulty
from .scoring import score_parquet as score_parquet
from .sharing import push_scored as push_scored
from .training import CurriculumConfig as CurriculumConfig
from .training import CurriculumMixin as CurriculumMixin
from .training import CurriculumSampler as CurriculumSampler
from .training import CurriculumSeq2SeqTrainer as CurriculumSeq2SeqTrainer
from .training import CurriculumTrainer as CurriculumTrainer
from .training import curriculum_stream as curriculum_stream
from .training import curriculum_weights as curriculum_weights
from .training import effective_fraction as effective_fraction
from .training import solve_temperature as solve_temperature
from .viewing import plot_difficulty as plot_difficulty
from .viewing import plot_schedule as plot_schedule
from .viewing import report as report
from .viewing import show_extremes as show_extremes
