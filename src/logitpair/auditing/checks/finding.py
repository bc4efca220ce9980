"""What to do where a check fails, and the record of what one came to."""

import math

from logitpair.storage.results import Finding

ADVICE = {
    "repeatable": "The network is random or remembers its calls. Switch that off, or average its logits over many calls and audit the "
    "average (expectation over transformation, arXiv 1802.00420).",
    "batch_independent": "Images influence each other, as with BatchNorm in training mode. Call model.eval(), and see that no layer uses "
    "the statistics of the batch.",
    "logits": "Remove the softmax from the network: attacks apply their own, and a second one flattens the gradient.",
    "finite": "Something overflows, as float16 does above 65,504. Run the network in float32, or scale its logits down.",
    "logit_scale": "So small or large logits leave cross-entropy flat or with no gradient at all. Divide the logits by a constant before "
    "attacking, or use a loss that does not depend on their scale (margin, DLR); the audit does.",
    "gradients": "An attack that follows this gradient does not move. Look for saturated units, rounding, argmax, float16 or very large "
    "logits; replace them in the backward pass (BPDA, arXiv 1802.00420), or rely on the searches without gradients.",
    "resolution": "The network rounds its input, as 8-bit quantisation or JPEG do, so that its gradient is not that of what it computes. "
    "Attack it with rounding replaced by the identity in the backward pass; the audit does where it can see the rounding.",
    "one_step": "Many small steps should beat one large one: the gradient is misleading near the image. Begin with large steps and random "
    "starts.",
    "steps": "Take more steps, or larger ones first.",
    "restarts": "Restart more often, from other starts; the loss has many peaks.",
    "step_size": "The step size does not suit this network: search over step sizes, or let them shrink from 2 eps.",
    "losses": "Where they disagree the gradient of the weaker one is masked: use the stronger, and look at the scale of the logits.",
    "converged": "The attack was still ascending when it ended: take more or larger steps.",
    "path": "Score every iterate, not the last alone; logitpair's PGD does.",
    "eps": "With every image in reach an attack that works breaks all. One that does not is misled by the gradient.",
    "noise": "Blind noise should find nothing that an attack does not: the gradient is masked.",
    "black_box": "An attack without gradients should find less than one with them: the gradient is masked.",
    "transfer": "Images made against another network should find less than those made against this one: the gradient is masked.",
    "strength": "With another last layer, which makes adversarial images that are known, the search overlooks them in this network; so it "
    "proves little about the network as it is. Something in it hides the gradient: see the other checks.",
    "search_converged": "More search may still find some: the accuracy is an upper bound that may go on falling. Give a larger budget.",
    "eight_bit": "Stated for images of 8 bits the accuracy is robust_accuracy_8_bit; the threat model as given allows every value.",
}
BLOCKING = {"repeatable", "batch_independent", "finite"}  # no attack's number can be believed while they fail


def finding(
    check: str, passed: bool, evidence: str, threshold: float, *, of: str = "", forbids_trust: bool = False, **measured: float
) -> Finding:
    """The record of a check; where there is one for each loss or source, ``of`` names it."""
    return Finding(
        check=f"{check}_{of}" if of else check,
        passed=passed,
        evidence=evidence,
        advice=ADVICE[check],
        measured={name: value if math.isfinite(value) else None for name, value in measured.items()},
        threshold=threshold,
        blocks=check in BLOCKING,
        forbids_trust=forbids_trust,
    )
