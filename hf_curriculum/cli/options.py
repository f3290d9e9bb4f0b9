"""Options that several commands have."""

from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object, for scripts.")]
Scored = Annotated[str, typer.Argument(help="Scored dataset: directory or file, or Hub id.", show_default=False)]
Split = Annotated[str | None, typer.Option(help="Split to take. [default: train, or the first]", show_default=False)]
Config = Annotated[str | None, typer.Option(help="Configuration (subset) of a Hub dataset.", show_default=False)]
Column = Annotated[
    str | None, typer.Option(help="Column of images, audio, video or text, if several could be.", show_default=False)
]
