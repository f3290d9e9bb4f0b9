from .plots import draw_extremes as draw_extremes
from .plots import plot_difficulty as plot_difficulty
from .plots import plot_schedule as plot_schedule
from .plots import show_extremes as show_extremes
from .report_page import report as report
from .summary import summarize as summarize
from .thumbnails import shown_column as shown_column
