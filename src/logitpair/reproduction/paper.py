"""The paper's tables, its figure and two claims of its text, each as what has to be trained and what the paper reports. Imports no torch.

Kannan, Kurakin and Goodfellow 2018, Adversarial Logit Pairing, arXiv 1803.06373. All numbers are accuracies in percent.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

COLUMNS = {
    "white_box": "white box",
    "white_box_top5": "white box, top-5",
    "black_box": "black box",
    "black_box_top5": "black box, top-5",
    "clean": "clean",
}
"""What is measured of a network, by the names of ``storage.results.Published``, and as pages call it."""


@dataclass(frozen=True)
class Row:
    """A network, and what the paper reports of it by column; a column that it does not give is absent."""

    method: str
    recipe: str
    paper: Mapping[str, float] = field(default_factory=dict[str, float])
    settings: Mapping[str, str] = field(default_factory=dict[str, str])  # that differ from the recipe's, by dotted name


@dataclass(frozen=True)
class Claim:
    """That one method of a table keeps more images right than another; pages say whether it does so here."""

    better: str
    worse: str
    column: str = "white_box"


@dataclass(frozen=True, kw_only=True)
class Target:
    """A table of the paper."""

    title: str
    rows: tuple[Row, ...]
    columns: tuple[str, ...]
    claims: tuple[Claim, ...] = ()
    attacks: str | None = None  # as `logitpair evaluate --attacks` takes them; by default the recipe's
    reference: str | None = None  # attack of the audit; by default the recipe's first
    sources: tuple[str, ...] = ()  # recipes that black-box images are made by; by default a copy of the network itself
    transfer: str | None = None  # the one attack to show, source by source, instead of the columns
    figure: bool = False  # accuracy against a setting, drawn; its runs are not audited
    note: str = ""

    @property
    def black_box(self) -> bool:
        """Whether images from other networks are tried."""
        return self.transfer is not None or any(column.startswith("black_box") for column in self.columns)

    @property
    def swept_recipes(self) -> list[str]:
        """The recipes whose runs a figure shows as sweeps; none of a table."""
        return list(dict.fromkeys(row.recipe for row in self.rows)) if self.figure else []

    def sources_of(self, row: Row) -> tuple[str, ...]:
        """The recipes whose networks black-box images for this row are made against."""
        return (self.sources or (row.recipe,)) if self.black_box else ()


# MNIST: the network of Madry et al., eps 0.3, PGD of 40 steps of 0.01. Black box: an independently initialised copy, trained alike.
MNIST_MPGD = Row("M-PGD", "mnist-mpgd", {"white_box": 93.2, "black_box": 96.0, "clean": 98.5})
MNIST_ALP = Row("ALP", "mnist-alp", {"white_box": 96.4, "black_box": 97.5, "clean": 98.8})
SQUEEZING = Row("logit squeezing", "mnist-squeezing", settings={"objective.weight": "0.5"})
WEIGHTS = ("0.05", "0.1", "0.2", "0.5", "1", "2")
VAT = Row("VAT, KL(clean, adversarial)", "mnist-vat")
VAT_REVERSE = Row("VAT, KL(adversarial, clean)", "mnist-vat", settings={"objective.divergence": "logitpair.losses.kl_to_clean"})
KL = Row("pairing by KL(clean, adversarial)", "mnist-alp", settings={"objective.pairing": "logitpair.losses.kl_from_clean"})
KL_REVERSE = Row("pairing by KL(adversarial, clean)", "mnist-alp", settings={"objective.pairing": "logitpair.losses.kl_to_clean"})

# SVHN: RevNet-9, eps 12/255, PGD of 10 steps of 3/255.
SVHN_MPGD = Row("M-PGD", "svhn-mpgd", {"white_box": 44.4, "black_box": 55.4, "clean": 96.9})

# ImageNet: eps 16/255, the lowest accuracy over eight targeted attacks of up to 10 steps of 2/255.
PLAIN, MPGD, ALP = "imagenet-plain-inception_v3", "imagenet-mpgd-inception_v3", "imagenet-alp-inception_v3"
ALP_RESNET, SMOOTHING = "imagenet-alp-resnet101", "imagenet-labelsmoothing-resnet101"
ENSEMBLE = Row("ensemble training (Tramer et al.)", "imagenet-ensemble-inception_v3")
SUITE, REFERENCE = "paper", "pgd_16_2_10"
WHITE, BLACK = ("white_box", "white_box_top5"), ("black_box", "black_box_top5")
SOURCES = (PLAIN, MPGD, ALP)
OF_SOURCES = "Black box: the worst of images made against networks of other seeds, trained regularly, with M-PGD and with ALP."


def _top(column: str, top1: float, top5: float) -> dict[str, float]:
    """Top-1 and top-5 accuracy."""
    return {column: top1, f"{column}_top5": top5}


TARGETS = {
    "table1": Target(
        title="Table 1: MNIST, adversarial logit pairing",
        columns=("white_box", "black_box", "clean"),
        rows=(MNIST_MPGD, MNIST_ALP),
        claims=(Claim("ALP", "M-PGD"), Claim("ALP", "M-PGD", "black_box"), Claim("ALP", "M-PGD", "clean")),
    ),
    "table2": Target(
        title="Table 2: SVHN, adversarial logit pairing",
        columns=("white_box", "black_box", "clean"),
        rows=(SVHN_MPGD, Row("ALP", "svhn-alp", {"white_box": 46.9, "black_box": 56.2, "clean": 96.2})),
        claims=(Claim("ALP", "M-PGD"), Claim("ALP", "M-PGD", "black_box")),
    ),
    "table3": Target(
        title="Table 3: ImageNet, white box",
        columns=(*WHITE, "clean"),
        rows=(
            Row("regular training", PLAIN, _top("white_box", 0.7, 4.4)),
            replace(ENSEMBLE, paper=_top("white_box", 1.3, 6.5)),
            Row("one-step training (Kurakin et al.)", "imagenet-onestep-inception_v3", _top("white_box", 1.5, 5.5)),
            Row("M-PGD", MPGD, _top("white_box", 3.9, 10.3)),
            Row("ALP", ALP, _top("white_box", 27.9, 55.4)),
        ),
        claims=(Claim("M-PGD", "one-step training (Kurakin et al.)"), Claim("ALP", "M-PGD"), Claim("ALP", "M-PGD", "white_box_top5")),
        attacks=SUITE,
        reference=REFERENCE,
    ),
    "table4": Target(
        title="Table 4: ImageNet, black box",
        columns=(*BLACK, "clean"),
        rows=(
            Row("M-PGD", MPGD, _top("black_box", 36.5, 62.3)),
            Row("ALP", ALP, _top("black_box", 46.7, 74.0)),
            replace(ENSEMBLE, paper=_top("black_box", 47.1, 74.3)),
        ),
        claims=(Claim("ALP", "M-PGD", "black_box"), Claim(ENSEMBLE.method, "M-PGD", "black_box")),
        attacks=SUITE,
        reference=REFERENCE,
        sources=SOURCES,
        note=OF_SOURCES,
    ),
    "table5": Target(
        title="Table 5: ImageNet, ALP by network, white box",
        columns=(*WHITE, "clean"),
        rows=(
            Row("Inception v3", ALP, _top("white_box", 27.9, 55.4)),
            Row("ResNet-101", ALP_RESNET, _top("white_box", 30.2, 55.8)),
        ),
        claims=(Claim("ResNet-101", "Inception v3"),),
        attacks=SUITE,
        reference=REFERENCE,
    ),
    "table6": Target(
        title="Table 6: ImageNet, ALP by network, black box",
        columns=(*BLACK, "clean"),
        rows=(
            Row("Inception v3", ALP, _top("black_box", 46.7, 74.0)),
            Row("ResNet-101", ALP_RESNET, _top("black_box", 36.0, 62.2)),
        ),
        claims=(Claim("Inception v3", "ResNet-101", "black_box"),),
        attacks=SUITE,
        reference=REFERENCE,
        sources=SOURCES,
        note=OF_SOURCES,
    ),
    "table7": Target(
        title="Table 7: MNIST, logit squeezing",
        columns=("white_box", "black_box", "clean"),
        rows=(
            replace(MNIST_MPGD, paper={**MNIST_MPGD.paper, "clean": 98.8}),
            replace(SQUEEZING, paper={"white_box": 86.4, "black_box": 96.8, "clean": 99.0}),
        ),
        claims=(Claim("M-PGD", "logit squeezing"), Claim("logit squeezing", "M-PGD", "black_box")),
    ),
    "table8": Target(
        title="Table 8: SVHN, clean logit pairing",
        columns=("white_box", "black_box", "clean"),
        rows=(SVHN_MPGD, Row("clean logit pairing", "svhn-clp", {"white_box": 39.1, "black_box": 55.8, "clean": 95.5})),
        claims=(Claim("M-PGD", "clean logit pairing"), Claim("clean logit pairing", "M-PGD", "black_box")),
    ),
    "table9": Target(
        title="Table 9: ImageNet, ResNet-101, white box",
        columns=(*WHITE, "clean"),
        rows=(
            Row("mixup", "imagenet-mixup-resnet101", _top("white_box", 0.1, 1.5)),
            Row("label smoothing", SMOOTHING, _top("white_box", 1.6, 10.0)),
            Row("ALP", ALP_RESNET, _top("white_box", 30.2, 55.8)),
        ),
        claims=(Claim("ALP", "label smoothing"), Claim("ALP", "mixup")),
        attacks=SUITE,
        reference=REFERENCE,
    ),
    "figure1": Target(
        title="Figure 1: MNIST, PGD against the weight of the penalty",
        columns=("white_box", "clean"),
        rows=(
            *(Row(f"clean logit pairing, weight {w}", "mnist-clp", settings={"objective.weight": w}) for w in WEIGHTS),
            *(Row(f"logit squeezing, weight {w}", "mnist-squeezing", settings={"objective.weight": w}) for w in WEIGHTS),
            Row("Gaussian noise alone", "mnist-noise", {"white_box": 25}),
        ),
        figure=True,
        note="The paper gives the penalties' curves in the figure only, and 86.4% for logit squeezing in Table 7.",
    ),
    "vat": Target(
        title="Virtual adversarial training on MNIST",
        columns=("white_box", "clean"),
        rows=(MNIST_MPGD, VAT, VAT_REVERSE, KL, KL_REVERSE, MNIST_ALP),
        claims=tuple(c for row in (VAT, VAT_REVERSE, KL, KL_REVERSE) for c in (Claim(row.method, "M-PGD"), Claim("ALP", row.method))),
        note="The paper says that VAT lies between M-PGD and ALP in both directions of the divergence, without a number. How its images "
        "were made there is not known here. VAT is what its source does: one step along a direction found without the label. Pairing by KL "
        "is ALP with the images of PGD, and the divergence in the place of the squared distance.",
    ),
    "transfer": Target(
        title="An ALP network's images against ensemble adversarial training",
        columns=(),
        rows=(replace(ENSEMBLE, paper={ALP: 47.1}),),
        attacks=SUITE,
        reference=REFERENCE,
        sources=SOURCES,
        transfer="iter_rand",
        note="In the paper images made by Iter-Rand against an ALP network lower ensemble adversarial training from 66.6%, what all other "
        "images leave, to 47.1%.",
    ),
}
