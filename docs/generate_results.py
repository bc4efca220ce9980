"""Write ``docs/results.md``: ``python docs/generate_results.py``.

The tables of JSON files come from the records in ``logitpair/storage/results.py`` and the ``#:`` comments of their fields; the rest of
the page is below.
"""

# ruff: noqa: E501  (the page's tables)
from __future__ import annotations

import ast
import inspect
import re
import sys
from pathlib import Path

from logitpair.storage import results

PAGE = """\
# What is written to disk

Everything a run directory holds, key by key. `docs/generate_results.py` writes this page from the classes that the files are written and
read by (`logitpair.storage.results`). This is schema 2: the number is in each file, and changes when a key changes its meaning or goes
away. New keys may appear within a schema, so readers should ignore those they do not know. An optional key is absent where it has nothing
to say.

Accuracies are fractions in [0, 1], and counts are integers. `eps`, `step_size` and distances are in [0, 1] pixel scale. Times are seconds.

```text
RUN/
├── config.yaml                    the settings, every value written out
├── .lock                          empty; held while the run is trained
├── metrics.jsonl                  what training logged
├── tensorboard/                   the same numbers as TensorBoard events
├── trackers.json                  with --tracker: what each tracker calls the run
├── training.json                  what the finished training took
├── checkpoints/
│   ├── step-000000500.pt          the latest ones (`checkpoints_kept`)
│   ├── last.pt                    the latest, by a fixed name
│   └── best.pt                    the best white-box accuracy on held-out training images
├── evaluation/<name>/
│   ├── results.json               the summary
│   ├── ledger.npz                 what happened to every example
│   ├── parts/                     what is done of an evaluation that is not finished
│   ├── adversarial/               with --keep-adversarial: every adversarial image
│   └── verification.json          with --verify: what they did when tried again
├── audit/                         results.json, ledger.npz and parts/ likewise
├── certificate/                   likewise
├── exported/                      the network, as `logitpair export RUN` writes it without --out
└── report.html                    where `logitpair report RUN` writes without --out
```

Each file but `metrics.jsonl` and the TensorBoard events is written whole or not at all.

## evaluation/NAME/results.json

Written by `Evaluation.save`, read back by `Evaluation.load`.

{EvaluationResults}

Of what evaluations and audits have in common:

{Results}

`logitpair evaluate`, `audit`, `transfer` and `demo` add what functions of Python cannot know:

{Task}

Published robustness was measured with that paper's attack alone. A stronger attack may leave less.

Rules that the numbers follow:

- An example that is misclassified unperturbed counts as broken by every attack. In the white box it is attacked only for top-5's sake: by
  an attack that searches to its last step, with more than five classes, while the true class is among the five likeliest. Against a source,
  which knows nothing of the model, every image is attacked.
- An adversarial example counts only after a fresh float32 forward in eval mode, and only if it is finite, within `eps` and within [0, 1];
  otherwise the unperturbed image is scored in its place.
- An image whose logits are not finite counts as misclassified.
- Within a radius of the curve an image is broken if it is within any smaller one, and is then not attacked again.
- With `--worst-case-only` a white-box attack searches only the images that no attack before it broke. What is left of all is as without
  it; what an attack alone would leave is not known, and is nowhere.
- Forward passes are counted where they happen: the logits of the unperturbed images are computed once for all attacks on a network, and
  counted for none of them where they are those of the clean accuracy.
- Randomness belongs to the example (its position in the data), the setting, the attack's name and the seed.

## evaluation/NAME/ledger.npz

NumPy arrays, loadable without pickle. One row per example, in the data's order; `<setting>` is `white_box` or the name of a source. With
`--worst-case-only` of a white-box attack itself there is only what it cost. What all of them found together, for each example the image
that was the first to break it, is there as that of an attack `union`: `prediction`, `distance`, `gallery/white_box/union`, and `top5`
where every attack searches to its last step.

| key | shape and type | what it is |
|---|---|---|
| `y` | `[examples]` int64 | true labels |
| `clean/prediction` | `[examples]` int64 | the largest logit of the unperturbed image |
| `clean/top5` | `[examples]` bool | whether the true class is among the five largest logits; only with more than 5 classes |
| `<setting>/<attack>/prediction` | `[examples]` int64 | the same for the attacked image; -1 where its logits are not finite |
| `<setting>/<attack>/top5` | `[examples]` bool | the same |
| `<setting>/<attack>/distance` | `[examples]` float32 | between the image and what was scored in its place, in the attack's norm; of `union` in that of the attack that broke it |
| `<setting>/<attack>/gradients`, `/forwards` | `[examples]` float64 | forward-and-backward passes, and forward passes alone, spent on the image |
| `white_box/<attack>/restart`, `/step` | `[examples]` int64 | where the attack broke it: the restart, from 0, and the gradient steps taken in it; -1 for an image that was not broken, or by an attack that cannot tell |
| `first/attack` | `[examples]` int64 | number, in the order of `attacks` (or `in_turn`), of the first white-box attack that broke it; -1: still correct, -2: misclassified without any attack |
| `first/restart`, `first/step` | `[examples]` int64 | the same attack's restart and step |
| `curve/<eps>/...` | likewise | the first attack at that radius of the curve; examples it was not tried on keep their clean prediction, and those that a smaller radius broke the image found there, for no further cost; no `top5` |
| `gallery/x` | `[up to 12, channels, height, width]` float32 | the first images |
| `gallery/white_box/<attack>` | likewise | what the white-box attack made of them |

## evaluation/NAME/adversarial/

One folder for each attack on a network, named after all that determines its images: `about.json` says what that is (`setting`, `attack`,
`parameters`, `weights`: a SHA-256 of the network's weights, settings and code, `seed`). In it one file a batch, loadable without pickle:
`position` in the data, `x_adv`, and `restart`, `step`, `gradients` and `forwards` as in the ledger.

## evaluation/NAME/verification.json

{VerificationResults}

## audit/results.json

Besides what it has in common with evaluations and what the command line adds (above):

{AuditResults}

## audit/ledger.npz

One row per example, in the data's order:

| key | shape and type | what it is |
|---|---|---|
| `y`, `clean/prediction` | `[examples]` int64 | as in an evaluation |
| `clean/margin` | `[examples]` float64 | the misclassification margin of the unperturbed image: the largest other logit minus the true class's |
| `broken_in_round` | `[examples]` int64 | number of the round that broke it; -1: still correct, -2: misclassified without any attack |
| `prediction` | `[examples]` int64 | of the image that broke it |
| `margin` | `[examples]` float64 | the largest misclassification margin that was reached; above 0 is broken |
| `distance` | `[examples]` float64 | between the image and the one that broke it |
| `restart`, `step` | `[examples]` int64 | where the strategy broke it |
| `gradients`, `forwards` | `[examples]` float64 | passes spent on the image |
| `broken_8_bit` | `[examples]` bool | whether it is still broken after rounding to 8 bits |
| `finite` | `[examples]` bool | whether the logits of the image that broke it, or of the image itself, are finite |

Besides them `gallery/x` and `gallery/x_adv`, `restarts/margin` `[restarts, images]`, `surface/margin` `[images, rows, columns]` and
`surface/position` `[images]`.

## sweep.json

`logitpair sweep` writes it into the sweep's folder, whole or not at all, at the start and after every run that ends. Beside it are the run
directories, one for each point of the grid and each seed (`objective.weight=0.5/seed-1/`), and `sweep.html` and `sweep.svg`.

{SweepResults}

## config.yaml

`recipe` and `scale` say what the run was begun with; `run` holds every setting of `logitpair.config.RunConfig`, defaults included, with
the class paths and arguments of the data set, network, objective, optimizer, schedule and attacks. `logitpair train` refuses to continue
a run whose settings differ, save for those that leave the weights alone: `data.init_args.root`, `evaluation`, `workers`,
`checkpoint_every`, `checkpoints_kept`, `activation_checkpointing`; and `accumulate` and `elastic`, which change what another number of
processes does.

## metrics.jsonl

One JSON object a line, every 20 steps and at each validation and checkpoint, with `step` (optimizer steps taken) and `epoch`. A run that
was killed and resumed holds every step once.

| key | what it is |
|---|---|
| `loss` | the total; this and the next three are means over the steps since the line before that measured it |
| the objective's own terms | `clean_loss`, `adversarial_loss`, `pairing`, ..., before their weights |
| `<name>_accuracy` | for each set of logits the objective names: `clean_accuracy`, `adversarial_accuracy` |
| `gradient_norm` | of all parameters together |
| `images_per_second` | training images, in the time that the same steps took |
| `lr` | the learning rate |
| `validation_clean`, `validation_white_box` | accuracies on held-out training images, on the lines where they were measured |
| `validation_back_to_step`, `validation_collapsed` | where training went back (`validation.recovery`): the step whose weights it took, which the line's accuracies are of, and what the white-box accuracy had fallen to |

## training.json

Written when training ends: a [Training](#training).

## checkpoints/*.pt

Read with `torch.load(path, weights_only=True)`; nothing in them runs code. `lp.load(RUN)` gives the network alone.

| key | what it is |
|---|---|
| `format` | `1` |
| `step` | optimizer steps taken |
| `model`, `optimizer`, `scaler` | state dicts |
| `ema` | state dict of the weights' moving average, where the run keeps one; evaluation uses it |
| `best` | best `validation_white_box` so far; -1 before the first |
| `collapsed` | whether the last validation found less than half of that |
| `recoveries` | where training went back: `step`, `back_to_step` and `attack` of each time |
| `seconds` | training time so far |

## Records

What the tables above call by name.

{others}
"""

TYPES = {
    "str": "text",
    "bool": "true or false",
    "int": "integer",
    "Count": "count",
    "float": "number",
    "Amount": "number",
    "Fraction": "fraction",
    "Settings": "mapping",
    "Described": "mapping",
    "Any": "any value",
}
SOURCE = inspect.getsource(results)
RECORDS = {
    node.name: node for node in ast.parse(SOURCE).body if isinstance(node, ast.ClassDef) and node.name not in ("Record", "Described")
}


def page() -> str:
    """The whole page."""
    placed = re.findall(r"^\{(\w+)\}$", PAGE, re.MULTILINE)
    others = [
        f"### {name}\n\n{ast.get_docstring(node).replace(', and:', '.')}\n\n{table(name)}"
        for name, node in RECORDS.items()
        if name not in placed
    ]
    text = PAGE.replace("{others}", "\n\n".join(others))
    for name in placed:
        text = text.replace(f"{{{name}}}", table(name)) if name != "others" else text
    return text


def table(name: str) -> str:
    """The keys of a record, without those that it has of another one.

    Raises:
        SystemExit: for a field without a comment.
    """
    lines = ["| key | type | what it is |", "|---|---|---|"]
    record = getattr(results, name)
    base = record.__base__.__name__
    if base == "Accuracy" or name == "BlackBox":
        lines.append(f"| ... | | all keys of [{base}](#{base.lower()}) |")
    if record.__struct_config__.tag:
        lines.append(f'| `kind` | text | `"{record.__struct_config__.tag}"` |')
    for field in RECORDS[name].body:
        if isinstance(field, ast.AnnAssign):
            key = ast.unparse(field.target)
            _, found, comment = SOURCE.splitlines()[field.end_lineno - 1].partition("#: ")
            if not found:
                raise SystemExit(f"{name}.{key} has no comment that begins with #:")
            optional = "" if field.value is None else "optional; "
            lines.append(f"| `{key}` | {optional}{kind(field.annotation)} | {comment} |")
    return "\n".join(lines)


def kind(annotation: ast.expr) -> str:
    """A type as the page calls it."""
    match annotation:
        case ast.Name(id="Verdict"):
            return kind(ast.parse(re.search(r"^Verdict = (.*)$", SOURCE, re.MULTILINE)[1], mode="eval").body)
        case ast.Name(id=name):
            return TYPES.get(name) or f"[{name}](#{name.lower()})"
        case ast.BinOp(left=left, right=ast.Constant(value=None)):
            return kind(left)
        case ast.Subscript(value=ast.Name(id="Literal"), slice=ast.Tuple(elts=values)):
            return " or ".join(f'`"{value.value}"`' for value in values)
        case ast.Subscript(value=ast.Name(id="tuple"), slice=ast.Tuple(elts=[item, ast.Constant(value=end)])) if end is ...:
            return f"list of {kind(item)}"
        case ast.Subscript(value=ast.Name(id="tuple"), slice=ast.Tuple(elts=items)):
            return f"[{', '.join(map(kind, items))}]"
        case ast.Subscript(value=ast.Name(id="dict"), slice=ast.Tuple(elts=[_, item])):
            return f"{kind(item)} by name"
        case _:
            raise SystemExit(f"no name for the type {ast.unparse(annotation)}")


if __name__ == "__main__":
    path = Path(__file__).with_name("results.md")
    path.write_text(page())
    sys.stdout.write(f"Wrote {path}\n")
