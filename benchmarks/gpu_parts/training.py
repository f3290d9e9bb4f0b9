"""Samples per second of ``CurriculumTrainer`` over ``Trainer``, by turns."""

import tempfile
from statistics import median

from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments

from benchmarks.gpu_parts.lines import Figures, Measurements, Size, settle
from benchmarks.gpu_parts.models import digits, tiny_mae
from hf_curriculum import CurriculumTrainer


def measurements(size: Size, deadline: float) -> Measurements:
    yield "samples per second", lambda: compared(size)


class Clock(TrainerCallback):
    """Seconds from the end of the first step to that of the last."""

    def on_step_end(self, args, state, control, **kwargs):  # noqa: D102
        if state.global_step == 1:
            self.start = settle()
        if state.global_step == state.max_steps:
            self.taken = settle() - self.start


def compared(size: Size) -> Figures:
    """Pairs, of which the first warms up and does not count."""
    taken: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        dataset = digits(size.of(100_000, 1000), f"{folder}/rows")
        for _ in range(size.of(8, 2)):
            for trainer in (Trainer, CurriculumTrainer):
                clock = Clock()
                args = TrainingArguments(
                    f"{folder}/run",
                    per_device_train_batch_size=64,
                    max_steps=size.of(300, 5),
                    logging_steps=20,
                    save_strategy="no",
                    report_to="none",
                    disable_tqdm=True,
                    bf16=size.device == "cuda",
                    use_cpu=size.device == "cpu",
                )
                model = tiny_mae(*size.of((384, 12), (64, 3)))
                made = trainer(model=model, args=args, train_dataset=dataset, callbacks=[clock])
                made.remove_callback(PrinterCallback)
                made.train()
                taken.setdefault(trainer.__name__, []).append(clock.taken)
    plain, ours = (times[1:] for times in taken.values())
    ratios = [a / b for a, b in zip(plain, ours, strict=True)]
    return {"ratio": median(ratios), "ratios": ratios, "seconds": taken}
