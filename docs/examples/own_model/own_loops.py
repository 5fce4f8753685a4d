"""Training loops of one's own, for `model=train_loop model.function=own_loops:train`: bare PyTorch, Lightning, Hugging Face.

Each goes on after an interruption: what it needs for that is bytes by name, which `loop.save` keeps and `loop.restore`
gives back. PyTorch's own files are read with ``weights_only=True``, so nothing in them runs.
"""

import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from own_nets import WideAndDeep
from torch import Tensor, nn
from torch.nn import functional

from raypipe.core.tensors import LabelledTensors
from raypipe.models import Course, Loop, TrainContext

Batch = tuple[Tensor, Tensor, Tensor]


def train(context: TrainContext) -> nn.Module:
    """Bare PyTorch, on any number of workers: each takes its part of every batch, `loop.wrap` adds up the gradients."""
    data, loop, settings = context.data, context.loop, context.settings
    torch.manual_seed(loop.seed)
    net = WideAndDeep(data.specs, data.target.num_outputs)
    optimizer = torch.optim.AdamW(net.parameters(), lr=settings["learning_rate"])
    course = Course("own_loop", loop, max_steps=settings["epochs"], patience=3, checkpoint_every=1)
    best = net.state_dict()
    saved = course.restore()
    if saved is not None:
        state = torch.load(io.BytesIO(saved["state.pt"]), weights_only=True)
        net.load_state_dict(state["net"])
        optimizer.load_state_dict(state["optimizer"])
        best = state["best"]
    wrapped = loop.wrap(net)
    while course.goes_on:
        net.train()
        for batch in batches(data.train, settings["batch_size"], loop, epoch=course.step):
            optimizer.zero_grad()
            loss_of(wrapped, batch, context).backward()
            optimizer.step()
        if course.advance({"validation_loss": validation_loss(net, context)}):
            best = {name: tensor.clone() for name, tensor in net.state_dict().items()}
        if course.saves:
            out = io.BytesIO()
            torch.save({"net": net.state_dict(), "optimizer": optimizer.state_dict(), "best": best}, out)
            course.save({"state.pt": out.getvalue()})
    net.load_state_dict(best)
    return net


def train_with_lightning(context: TrainContext) -> nn.Module:
    """Lightning in one worker: a callback hands its checkpoints over."""
    import lightning

    data, loop, settings = context.data, context.loop, context.settings

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = WideAndDeep(data.specs, data.target.num_outputs)

        def training_step(self, batch: Batch) -> Tensor:
            return loss_of(self.net, batch, context)

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.AdamW(self.parameters(), lr=settings["learning_rate"])

        def train_dataloader(self) -> "Epochs":
            return epochs

    class Epochs:
        """Counts what Lightning really goes through: it also asks for iterators that it does not use."""

        next = 0

        def __iter__(self) -> Iterator[Batch]:
            epoch, self.next = self.next, self.next + 1
            yield from batches(data.train, settings["batch_size"], loop, epoch=epoch)

    class Keep(lightning.Callback):
        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            step, path = trainer.current_epoch + 1, loop.scratch / "last.ckpt"
            loop.report(step, {"validation_loss": validation_loss(pl_module.net, context)})
            trainer.save_checkpoint(path)
            loop.save(step, {"last.ckpt": path.read_bytes()})

    torch.manual_seed(loop.seed)
    module, epochs, start = Module(), Epochs(), None
    saved = loop.restore()
    if saved is not None:
        epochs.next = saved.step
        unpack(saved.state, loop.scratch / "start")
        start = loop.scratch / "start" / "last.ckpt"
    trainer = lightning.Trainer(
        max_epochs=settings["epochs"],
        accelerator="gpu" if loop.device == "cuda" else "cpu",
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=loop.scratch,
        callbacks=[Keep()],
    )
    trainer.fit(module, ckpt_path=start, weights_only=True)
    return module.net


def train_with_transformers(context: TrainContext) -> nn.Module:
    """Hugging Face's Trainer in one worker: columns are the tokens of a small BERT that starts from a config."""
    import transformers

    data, loop, settings = context.data, context.loop, context.settings

    class Keep(transformers.TrainerCallback):
        def on_evaluate(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
            loop.report(round(state.epoch), {"validation_loss": validation_loss(net.tokens, context)})

        def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
            loop.save(round(state.epoch), pack(Path(args.output_dir) / f"checkpoint-{state.global_step}"))

    torch.manual_seed(loop.seed)
    net, start = WithLoss(Tokens(context), context), None
    saved = loop.restore()
    if saved is not None:
        start = loop.scratch / "start"
        unpack(saved.state, start)
    arguments = transformers.TrainingArguments(
        output_dir=str(loop.scratch / "out"),
        num_train_epochs=settings["epochs"],
        per_device_train_batch_size=settings["batch_size"],
        per_device_eval_batch_size=4096,
        learning_rate=settings["learning_rate"],
        seed=loop.seed,
        use_cpu=loop.device == "cpu",
        eval_strategy="epoch",
        save_strategy="epoch",
        save_total_limit=1,
        report_to=[],
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_pin_memory=False,
    )
    trainer = transformers.Trainer(
        model=net,
        args=arguments,
        train_dataset=Rows(data.train),
        eval_dataset=Rows(data.validation),
        data_collator=lambda batch: batch,
        callbacks=[Keep()],
    )
    trainer.train(resume_from_checkpoint=str(start) if start else None)
    return net.tokens


class Tokens(nn.Module):
    """Each column a token of a small BERT."""

    def __init__(self, context: TrainContext) -> None:
        super().__init__()
        import transformers

        specs, width = context.data.specs, 16
        self.scales = nn.Parameter(torch.randn(len(specs.numbers), width))
        self.embeddings = nn.ModuleList(nn.Embedding(size, width) for size in specs.cardinalities)
        shape = {"hidden_size": width, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
        self.bert = transformers.BertModel(transformers.BertConfig(vocab_size=1, **shape), add_pooling_layer=False)
        self.head = nn.Linear(width, context.data.target.num_outputs)

    def forward(self, numbers_NF: Tensor, categories_NC: Tensor) -> Tensor:
        """Logits (N, O)."""
        tokens = [numbers_NF[:, :, None] * self.scales]
        tokens += [embedding(categories_NC[:, i].long())[:, None, :] for i, embedding in enumerate(self.embeddings)]
        hidden = self.bert(inputs_embeds=torch.cat(tokens, dim=1)).last_hidden_state
        logits_NO: Tensor = self.head(hidden.mean(dim=1))
        return logits_NO


class WithLoss(nn.Module):
    """What Hugging Face's Trainer wants: the loss among the outputs."""

    def __init__(self, tokens: Tokens, context: TrainContext) -> None:
        super().__init__()
        self.tokens, self._context = tokens, context

    def forward(self, numbers_NF: Tensor, categories_NC: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Loss and logits."""
        logits_NO = self.tokens(numbers_NF, categories_NC)
        return {"loss": losses(logits_NO, labels, self._context).mean(), "logits": logits_NO}


class Rows(torch.utils.data.Dataset[dict[str, Tensor]]):
    """Rows for a DataLoader, which asks for a whole batch at once."""

    def __init__(self, rows: LabelledTensors) -> None:
        self._rows = rows

    def __len__(self) -> int:
        """Number of rows."""
        return len(self._rows)

    def __getitems__(self, index: list[int]) -> dict[str, Tensor]:
        """The rows at `index` as one batch."""
        numbers_NF, categories_NC, y_N = tensors(self._rows.take(np.array(index)))
        return {"numbers_NF": numbers_NF, "categories_NC": categories_NC, "labels": y_N}


def batches(rows: LabelledTensors, size: int, loop: Loop, *, epoch: int) -> Iterator[Batch]:
    """This process's part of each batch; the order of rows is a function of seed and epoch."""
    order_N = np.random.default_rng((loop.seed, epoch)).permutation(len(rows))
    for start in range(0, len(rows), size):
        yield tensors(rows.take(order_N[start : start + size][loop.rank :: loop.world_size]))


def tensors(rows: LabelledTensors) -> Batch:
    """Numbers, categories and labels."""
    arrays = (rows.inputs["numbers_NF"], rows.inputs["categories_NC"], rows.y_N)
    numbers_NF, categories_NC, y_N = (torch.from_numpy(np.array(array)) for array in arrays)
    return numbers_NF, categories_NC, y_N


def losses(logits_NO: Tensor, y_N: Tensor, context: TrainContext) -> Tensor:
    """The loss of each row."""
    if context.data.target.kind == "multiclass":
        return functional.cross_entropy(logits_NO, y_N.long(), reduction="none")
    if context.data.target.kind == "binary":
        return functional.binary_cross_entropy_with_logits(logits_NO[:, 0], y_N, reduction="none")
    return (logits_NO[:, 0] - y_N) ** 2


def loss_of(net: nn.Module, batch: Batch, context: TrainContext) -> Tensor:
    """Mean loss over this process's part of a batch; a part without rows has none."""
    numbers_NF, categories_NC, y_N = batch
    return losses(net(numbers_NF, categories_NC), y_N, context).sum() / max(1, len(y_N))


def validation_loss(net: nn.Module, context: TrainContext) -> float:
    """Mean loss of all validation rows; the root of it for a regression."""
    numbers_NF, categories_NC, y_N = tensors(context.data.validation)
    was_training = net.training
    net.eval()
    with torch.no_grad():
        mean = float(losses(net(numbers_NF, categories_NC), y_N, context).mean())
    net.train(was_training)
    return float(mean**0.5) if context.data.target.kind == "regression" else mean


def pack(folder: Path) -> dict[str, bytes]:
    """All files of a folder, by their path in it."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def unpack(files: Mapping[str, bytes], folder: Path) -> None:
    """The inverse of `pack`."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
