"""The one definition of what is on disk as JSON: every record, typed. They are written from these classes and read by them, and the
tables of ``docs/results.md`` are generated from the lines below. Imports no torch.

Accuracies are fractions; ``eps``, ``step_size`` and distances are in [0, 1] pixel scale; times are seconds. A field that has its default
is left out of the file.
"""

from typing import Annotated, Any, Literal, TypedDict

from msgspec import Meta, Struct
from msgspec.structs import asdict

SCHEMA = 2  # changes when a key changes its meaning or goes away
BUDGET = 200.0  # gradients that an audit spends on an image on average, where nothing else is said
CERTIFICATE_METHODS = ("ibp", "crown-ibp", "crown", "alpha-crown", "beta-crown")  # in the order in which they are tried, by their cost
BRANCHES, MOST_BRANCHES = 64, 100_000  # parts of a ball by default, and at most, for all are held in memory
UNION = "union"  # in the place of an attack's name: all of them together
ROUNDING = 1e-6  # by which numbers that belong together may differ
NO_CLASS = -1  # the prediction of an image whose logits are not finite

Fraction = Annotated[float, Meta(ge=0, le=1)]
Count = Annotated[int, Meta(ge=0)]
Amount = Annotated[float, Meta(ge=0)]
Settings = dict[str, Any]  # as a recipe writes them: class_path and init_args


class Described(TypedDict):
    """Something with a name, as a recipe writes it."""

    class_path: str
    init_args: dict[str, Any]


Verdict = Literal["trustworthy", "overestimated", "inconclusive"]


class Record(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Immutable, its fields by keyword."""


class Accuracy(Record, frozen=True, kw_only=True):
    """An accuracy."""

    top1: Fraction  #: `correct / total`
    correct: Count  #: count of examples
    total: Count  #: count of examples
    ci95: tuple[Fraction, Fraction]  #: the 95% confidence interval of `top1` (Wilson), for images drawn like these
    top5: Fraction | None = None  #: likewise for the true class among the five largest logits; only with more than 5 classes
    top5_is_upper_bound: bool | None = None  #: the search stopped once the first guess was wrong; a longer one may leave less

    def __post_init__(self) -> None:
        low, high = self.ci95
        fits = 0 < self.total >= self.correct and abs(self.top1 - self.correct / self.total) < ROUNDING
        if not (fits and low - ROUNDING < self.top1 < high + ROUNDING):
            raise ValueError(f"top1 {self.top1}, correct {self.correct}, total {self.total} and ci95 {low} to {high} contradict each other")
        if self.top5 is not None and self.top5 < self.top1:
            raise ValueError(f"top5 {self.top5} is below top1 {self.top1}")


class Broken(Record, frozen=True, kw_only=True):
    """Counts of the images classified right when clean and misclassified under an attack."""

    total: Count  #: that this attack broke
    first: Count  #: that it was the first in the suite's order to break
    alone: Count  #: that no other attack of the suite broke


class StillCorrect(Record, frozen=True, kw_only=True):
    """How many images are still classified right as an attack goes on."""

    steps: tuple[Count, ...] = ()  #: after 0, 1, ..., K gradient steps of the first restart (at 0 only the random start has broken any)
    restarts: tuple[Count, ...] = ()  #: after 1, ..., R restarts


class KeptImages(Record, frozen=True, kw_only=True):
    """Where the adversarial images of an attack were kept."""

    folder: str  #: below `adversarial/`
    eps: Amount  #: the attack's radius


class AttackAccuracy(Accuracy, frozen=True, kw_only=True):
    """An accuracy under one attack, and:"""

    parameters: Described  #: the attack as a recipe writes it; one made for transfer searches to its last step
    largest_distance: Amount  #: the largest distance between an image and what was scored in its place
    gradient_evaluations_per_example: Amount  #: forward-and-backward passes of single images, divided by `examples`
    forward_evaluations_per_example: Amount  #: forward passes of single images without a gradient, divided by `examples`
    seconds: Amount  #: spent in the attack, by all processes together; for images taken from a cache, in reading them
    broken: Broken | None = None  #: what it broke
    still_correct: StillCorrect | None = None  #: white box only, and only of attacks that know it
    images: KeptImages | None = None  #: where its adversarial images were kept


class AttackInTurn(Record, frozen=True, kw_only=True):
    """An attack that searched only the images that no attack before it broke; what it would have left of all is not known."""

    parameters: Described  #: the attack as a recipe writes it
    attacked: Count  #: images classified right when clean that no attack before it broke
    broken: Count  #: how many of these it broke
    gradient_evaluations_per_example: Amount  #: forward-and-backward passes of single images, divided by `examples`
    forward_evaluations_per_example: Amount  #: forward passes of single images without a gradient, divided by `examples`
    seconds: Amount  #: spent in the attack, by all processes together
    images: KeptImages | None = None  #: where its adversarial images were kept


class WorstCase(Accuracy, frozen=True, kw_only=True):
    """The lowest accuracy under any attack, the paper's worst case; `top5` is the lowest of any attack."""

    attack: str  #: name of the attack that gives it
    confusion: tuple[tuple[Count, ...], ...] | None = None  #: white box, up to 50 classes: `[true][predicted]`, counts


class BlackBox(WorstCase, frozen=True, kw_only=True):
    """A worst case on images made against another network, and:"""

    union: Accuracy  #: an example counts as correct only if it is correct under every attack
    attacks: dict[str, AttackAccuracy]  #: each attack


class CurvePoint(Accuracy, frozen=True, kw_only=True):
    """An accuracy at one radius, where an image counts as broken if it was at any smaller one, and:"""

    eps: Amount  #: the radius; at 0 the unperturbed images
    attack: str  #: the first one of the suite, its steps scaled with the radius


class Hardware(Record, frozen=True, kw_only=True):
    """What the work was done on."""

    device: str  #: `cpu` or `cuda`
    name: str  #: of the processor or GPU
    threads: Count | None = None  #: on a CPU
    instructions: str | None = None  #: on a CPU: vector instructions that PyTorch uses
    count: Count | None = None  #: of GPUs
    processes: Count | None = None  #: where several shared the work


class Recovery(Record, frozen=True, kw_only=True):
    """That training went back after catastrophic overfitting (arXiv 2001.03994), by `validation.recovery`."""

    step: Count  #: of the optimizer, after which it went back; steps go on from there
    back_to_step: Count  #: whose weights it took
    attack: Settings  #: that it went on with


class Training(Record, frozen=True, kw_only=True):
    """`training.json`, written when training ends."""

    steps: Count  #: of the optimizer
    seconds: Amount  #: of an interrupted training all runs together, without what a kill lost
    processes: Count  #: that took part
    recoveries: tuple[Recovery, ...] = ()  #: the times that it went back
    precision: str  #: of forward and backward passes
    versions: dict[str, str]  #: `logitpair`, `torch`, `python`, `platform`
    hardware: Hardware  #: what it ran on


class Network(Record, frozen=True, kw_only=True):
    """A network trained elsewhere, by the options that name it."""

    name: str  #: `--model`
    weights: str | None = None  #: `--weights`
    pretrained: bool = False  #: `--pretrained`
    classes: int | None = None  #: `--classes`
    mean: tuple[float, ...] | None = None  #: `--mean`
    std: tuple[float, ...] | None = None  #: `--std`
    labels: str | None = None  #: `--labels`


class DataSet(Record, frozen=True, kw_only=True):
    """What was evaluated on."""

    name: str  #: of the data set
    split: str  #: `test`
    class_names: tuple[str, ...]  #: in the order of the labels
    size: int | None = None  #: of photos: height and width after the crop
    resize: int | None = None  #: of photos: the shorter side before the crop
    interpolation: str = "bilinear"  #: of photos: by which they are resized
    grey: bool = False  #: of photos: whether they have one channel


class Published(Record, frozen=True, kw_only=True):
    """What a paper reports, under that paper's attack alone; a measure that it does not give is absent."""

    source: str  #: the paper and the place in it: `arXiv 1803.06373, Table 1`
    clean: Fraction | None = None  #: accuracy
    white_box: Fraction | None = None  #: accuracy
    white_box_top5: Fraction | None = None  #: accuracy
    black_box: Fraction | None = None  #: accuracy
    black_box_top5: Fraction | None = None  #: accuracy
    note: str | None = None  #: what a reader should know beside them


class SourceRun(Record, frozen=True, kw_only=True):
    """A run whose network black-box images were made against."""

    run: str  #: its directory
    step: Count  #: of its last checkpoint


class Task(Record, frozen=True, kw_only=True):
    """What the command line knows beside the model and the images; absent from results made in Python."""

    recipe: str | None = None  #: that the run was trained by
    scale: str | None = None  #: of the recipe
    checkpoint: str | None = None  #: `last` or `best`
    step: Count | None = None  #: optimizer steps behind it
    network: Network | None = None  #: instead of a run
    data: DataSet | None = None  #: what was evaluated on
    test_images: Count | None = None  #: how many there are, of which the first `examples` were taken; absent where nothing tells
    sources: dict[str, SourceRun] = {}  #: of the black box
    published: tuple[Published, ...] = ()  #: what papers report for the recipe at its own scale; none under other attacks than the recipe's
    training: Training | None = None  #: absent while the training is not finished


class Results(Task, frozen=True, kw_only=True):
    """What the results of evaluations and audits have in common."""

    schema: int  #: of this file, 2
    name: str  #: of the evaluation, also its folder's
    created: str  #: UTC time, ISO 8601
    model: str  #: class name of the network
    weights: str | None = None  #: a SHA-256 of the network's parameters and buffers
    fingerprint: str | None = None  #: a SHA-256 of the network: weights, settings and, as `versions` have it, code
    examples: Count  #: how many there are
    classes: Count  #: how many logits the network has
    clean: Accuracy  #: on the unperturbed images
    seed: int  #: of all randomness
    precision: str  #: that the attacks compute in; what counts is verified in float32
    versions: dict[str, str]  #: `logitpair`, `torch`, `python`, `platform`
    hardware: Hardware  #: what it ran on
    wall_time_seconds: Amount  #: of one that was interrupted, since it was resumed
    cache_key: str | None = None  #: a hash of all that determines the numbers; absent where no folder was given
    ledger_sha256: str | None = None  #: of the `ledger.npz` written with it; another one is refused

    def __post_init__(self) -> None:
        if len(self.class_names) != self.classes:
            raise ValueError(f"{len(self.class_names)} class names for {self.classes} classes")
        self._must_fall(self.clean)

    def _must_fall(self, *accuracies: Accuracy) -> None:
        """Every number is of all images, and none is above the one before it."""
        correct = [accuracy.correct for accuracy in accuracies]
        if {accuracy.total for accuracy in accuracies} != {self.examples}:
            raise ValueError(f"accuracies are not all of {self.examples} images")
        if correct != sorted(correct, reverse=True):
            raise ValueError(f"a stronger attack leaves more: {', '.join(map(str, correct))} images")

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of the classes, or their numbers where none are given."""
        return (self.data.class_names if self.data else ()) or tuple(map(str, range(self.classes)))


class EvaluationResults(Results, frozen=True, kw_only=True, tag_field="kind", tag="evaluation"):
    """`evaluation/NAME/results.json`"""

    attacks: dict[str, AttackAccuracy]  #: white box; empty with `--worst-case-only`
    white_box: WorstCase | None = None  #: the attack with the lowest accuracy; absent with `--worst-case-only`
    white_box_union: Accuracy  #: an example counts as correct only if it is correct under every attack
    in_turn: dict[str, AttackInTurn] = {}  #: with `--worst-case-only`, the white box in the order of its attacks
    black_box: dict[str, BlackBox]  #: the worst case against each source
    curve: tuple[CurvePoint, ...] = ()  #: accuracy against eps
    batch_size: Count  #: images attacked together; no result depends on it
    transfer: bool = False  #: whether it is one of several networks evaluated on each other's images (`logitpair transfer`)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._must_fall(self.clean, self.white_box_union)
        white_box = [(self.white_box, self.attacks, self.white_box_union)] if self.white_box else []
        for worst, attacks, union in (*white_box, *((suite, suite.attacks, suite.union) for suite in self.black_box.values())):
            if worst.attack not in attacks or worst.correct != attacks[worst.attack].correct:
                raise ValueError(f"the worst accuracy is not that of the attack '{worst.attack}'")
            for attack in attacks.values():
                self._must_fall(self.clean, attack, worst, union)
            if worst.confusion and {len(worst.confusion), *map(len, worst.confusion)} != {self.classes}:
                raise ValueError(f"the confusion counts are not {self.classes} by {self.classes}")

    @property
    def worst_case(self) -> WorstCase:
        """The number that stands for the white box: that of the worst attack, or where none was run alone that of all, the ``union``."""
        return self.white_box or WorstCase(**asdict(self.white_box_union), attack=UNION)

    @property
    def parameters(self) -> dict[str, Described]:
        """The white-box attacks as a recipe writes them, by name."""
        return {name: attack.parameters for name, attack in (self.in_turn or self.attacks).items()}


class Finding(Record, frozen=True, kw_only=True):
    """What a check came to."""

    check: str  #: its name, which the page on audits explains
    passed: bool  #: whether there is nothing to worry about
    evidence: str  #: what was measured and the threshold, in words
    advice: str  #: what to do where it did not pass
    measured: dict[str, float | None] = {}  #: the numbers; null for one that is not finite
    threshold: float | None = None  #: what they were held against
    blocks: bool = False  #: whether no verdict but `inconclusive` is possible while it fails
    forbids_trust: bool = False  #: whether it failed so badly that the verdict cannot be `trustworthy`


class SearchRound(Record, frozen=True, kw_only=True):
    """One round of the search: a strategy on some of the images that are still correct."""

    strategy: str  #: its name
    repetition: Count  #: how many rounds it had before
    attacked: Count  #: images
    broken: Count  #: images
    still_correct: Count  #: images, after it
    certified: Count = 0  #: of these, the ones that no search attacks, for they are certified
    gradients_per_example: Amount  #: spent by then
    forwards_per_example: Amount  #: spent by then
    seconds: Amount  #: spent by all processes together

    @property
    def searched_before(self) -> int:
        """How many images the round could attack: those still correct before it that are not certified."""
        return self.still_correct - self.certified + self.broken


class ReferenceAccuracy(Accuracy, frozen=True, kw_only=True):
    """An accuracy under the reference attack, whose number is judged, and:"""

    parameters: Described  #: the attack
    measured: bool  #: whether it was measured by the audit; else it is what an evaluation reported
    gradient_evaluations_per_example: Amount | None = None  #: spent by the attack
    attack: str | None = None  #: its name in that evaluation
    evaluation: str | None = None  #: the evaluation's name


class EpsPoint(Record, frozen=True, kw_only=True):
    """Accuracy of the checks' sample at one radius."""

    eps: Amount  #: the radius
    top1: Fraction  #: accuracy
    examples: Count  #: of the sample


class Passes(Record, frozen=True, kw_only=True):
    """What something cost."""

    gradient_evaluations_per_example: Amount  #: forward-and-backward passes of single images, divided by `examples`
    forward_evaluations_per_example: Amount  #: forward passes without a gradient, divided by `examples`


class AuditResults(Results, frozen=True, kw_only=True, tag_field="kind", tag="audit"):
    """`audit/results.json`"""

    threat: Described  #: the threat model
    verdict: Verdict  #: whether the reference attack's number can be believed
    reason: str  #: why, in words
    reference: ReferenceAccuracy  #: the number that is judged
    robust_accuracy: Accuracy  #: what no search broke
    certified: Accuracy | None = None  #: of a certificate, where one was given: the robust accuracy is at least this
    robust_accuracy_8_bit: Accuracy  #: the same, where only breaks count that survive rounding to 8 bits
    findings: tuple[Finding, ...]  #: the checks
    rounds: tuple[SearchRound, ...]  #: the search
    stop_reason: str  #: why the search ended
    converged: bool  #: whether `further_breaks` is below one image in a thousand, or below one
    further_breaks: Amount | None = None  #: images that another pass of every search breaks at most, with 95% confidence
    eps_curve: tuple[EpsPoint, ...] = ()  #: accuracy of the checks' sample against eps
    gradient_evaluations_per_example: Amount  #: spent by the search
    forward_evaluations_per_example: Amount  #: spent by the search
    checks: Passes  #: spent by the checks
    budget: Amount  #: gradients an image that were allowed, a forward pass counting as a third

    def __post_init__(self) -> None:
        super().__post_init__()
        self._must_fall(self.clean, self.robust_accuracy_8_bit, self.robust_accuracy, *([self.certified] if self.certified else []))


class CertificateMethod(Record, frozen=True, kw_only=True):
    """A method of a certificate."""

    name: str  #: `ibp`, `crown-ibp`, `crown`, `alpha-crown` or `beta-crown`
    certified: Count  #: images that it certified and the methods before it did not
    seconds: Amount  #: spent by all processes together, with the attack where it came between


class CertificateResults(Results, frozen=True, kw_only=True, tag_field="kind", tag="certificate"):
    """`certificate/results.json`"""

    threat: Described  #: the threat model
    images: str | None = None  #: a SHA-256 of the images and labels; absent where they have no order
    certified: Accuracy  #: of the images classified right, those that no image in the threat model is misclassified for
    broken: Count  #: images that attacks broke, which were not bounded any further
    branches: Count | None = None  #: parts of an image's ball that `beta-crown` bounded at most
    methods: tuple[CertificateMethod, ...]  #: from the cheapest, each on what was not decided before


class VerifiedAttack(Record, frozen=True, kw_only=True):
    """What one attack's kept images did when they were tried again: counts of examples."""

    setting: str  #: `white_box`, or the source that the images were made against
    attack: str  #: its name
    total: Count  #: all of them
    recorded: Count  #: correct in the evaluation
    again: Count  #: correct when tried again
    eight_bit: Count  #: correct when rounded to 8 bits; an image that rounding moves out of the ball counts as unperturbed
    differing: Count  #: other than in the evaluation
    outside: Count  #: outside the ball or the box


class VerificationResults(Record, frozen=True, kw_only=True, tag_field="kind", tag="verification"):
    """`verification.json`"""

    schema: int  #: of this file, 2
    holds: bool  #: whether all is as the evaluation says
    weights: str  #: of the network that was tried, as in `results.json`
    attacks: tuple[VerifiedAttack, ...]  #: white box, then each source


class Axis(Record, frozen=True, kw_only=True):
    """An axis of a sweep."""

    setting: str  #: dotted name
    values: tuple[Any, ...]  #: in the order given


class RunSeconds(Record, frozen=True, kw_only=True):
    """What a run of a sweep took."""

    training: Amount  #: of the training
    evaluation: Amount  #: of the evaluation


class AttackedTest(Accuracy, frozen=True, kw_only=True):
    """An accuracy on test images under the worst attack, and:"""

    attack: str  #: its name
    parameters: Described  #: the attack


class SweepRun(Record, frozen=True, kw_only=True):
    """A run of a sweep; the keys from `validation_clean` on are there once it is finished."""

    path: str  #: of the run directory, within the sweep's folder
    settings: Settings  #: the value of each axis
    seed: int  #: of training
    evaluation: Settings  #: the request: `examples` and, as in `config.yaml`, `attacks`, `curve` and `curve_examples`
    status: Literal["pending", "finished", "failed"]  #: the same command again tries failed runs again
    message: str | None = None  #: why it failed
    validation_clean: Fraction | None = None  #: on held-out training images, the last in `metrics.jsonl`
    validation_white_box: Fraction | None = None  #: likewise
    clean: Accuracy | None = None  #: on test images, from the run's `evaluation/test/results.json`
    white_box: AttackedTest | None = None  #: likewise
    evaluated: str | None = None  #: that file's `created`
    seconds: RunSeconds | None = None  #: what it took
    hardware: Hardware | None = None  #: as in `training.json`

    def __post_init__(self) -> None:
        if self.status == "finished" and None in (self.validation_clean, self.validation_white_box, self.clean, self.white_box):
            raise ValueError(f"the run {self.path} is finished and not measured")


class Spread(Record, frozen=True, kw_only=True):
    """Of a measure over the finished runs of a point."""

    mean: float  #: their mean
    min: float  #: the lowest
    max: float  #: the highest
    std: float | None = None  #: sample standard deviation, from two runs on


class SweepPoint(Record, frozen=True, kw_only=True):
    """The runs of one combination of the axes' values, together; a measure is absent while none is finished."""

    settings: Settings  #: the value of each axis
    runs: Count  #: how many it has
    finished: Count  #: how many of them are finished
    failed: Count  #: how many of them failed
    validation_clean: Spread | None = None  #: on held-out training images
    validation_white_box: Spread | None = None  #: likewise
    clean: Spread | None = None  #: on test images
    white_box: Spread | None = None  #: likewise


class BestPoint(Record, frozen=True, kw_only=True):
    """The point to choose."""

    settings: Settings  #: the value of each axis
    validation_white_box: Fraction  #: its mean


class SweepResults(Record, frozen=True, kw_only=True, tag_field="kind", tag="sweep"):
    """`sweep.json`"""

    schema: int  #: of this file, 2
    recipe: str  #: that all runs are trained by
    scale: str  #: of the recipe
    overrides: Settings  #: settings that differ from the recipe in all runs, by dotted name
    axes: tuple[Axis, ...]  #: of the grid
    seeds: tuple[int, ...]  #: of training, each at every point
    runs: tuple[SweepRun, ...]  #: for each point and seed
    points: tuple[SweepPoint, ...]  #: for each combination of the axes' values
    best: BestPoint | None = None  #: highest mean held-out white box among points whose runs all finished, the first of equals

    def __post_init__(self) -> None:
        axes = {axis.setting: axis.values for axis in self.axes}
        for settings in (each.settings for each in (*self.runs, *self.points)):
            if settings.keys() != axes.keys() or any(value not in axes[setting] for setting, value in settings.items()):
                raise ValueError(f"{settings} is no point of the axes")
