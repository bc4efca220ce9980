"""Faults of meaning, which no operator makes: the mistakes that papers and libraries of this field have been caught in.

``old`` must occur exactly once in the file; where the code has moved on, the run says so, and the line here is to be adapted.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Fault:
    """One text of a file replaced by another.

    Args:
        file: in ``src/logitpair``; its tests are those of ``targets.py``.
        why: what is wrong with it.
        old, new: text before and after.
    """

    file: str
    why: str
    old: str
    new: str


FAULTS = (
    # the threat model
    Fault("threat.py", "the ball's lower wall is not kept", "(x - self.eps).clamp_(min=0)", "torch.zeros_like(x)"),
    Fault("threat.py", "the box's upper wall is not kept", "(x + self.eps).clamp_(max=1)", "(x + self.eps)"),
    Fault("threat.py", "starts are only ever above the image", "(2 * uniform_like(x, generator) - 1)", "uniform_like(x, generator)"),
    Fault("threat.py", "the distance is a mean instead of the largest", ".abs().flatten(1).amax(1)", ".abs().flatten(1).mean(1)"),
    Fault(
        "threat.py",
        "what leaves the box is taken as inside",
        "((x_adv >= 0) & (x_adv <= 1)).flatten(1).all(1)",
        "((x_adv >= 0) | (x_adv <= 1)).flatten(1).all(1)",
    ),
    # losses
    Fault(
        "losses.py",
        "the divergence goes the other way",
        "return (log_p.exp() * (log_p - log_q)).sum(1)",
        "return (log_q.exp() * (log_q - log_p)).sum(1)",
    ),
    Fault("losses.py", "the true class counts among the others", "others = logits.scatter(1, y[:, None], -torch.inf)", "others = logits"),
    Fault(
        "losses.py",
        "the printed pairing is given for the released code's",
        "return (a - b).square().mean(1)",
        "return (a - b).square().sum(1)",
    ),
    # random numbers
    Fault(
        "rng.py",
        "every example draws the same numbers",
        "self.indices.to(device).long() * -0x61C8864680B583EB",
        "self.indices.to(device).long() * 0",
    ),
    Fault("rng.py", "every draw is the first one again", "        self.draws += 1\n        bits", "        bits"),
    # attacks
    Fault(
        "attacks/pgd.py",
        "the loss is descended",
        "gradient_of(loss if self.target is None else -loss, x_adv)",
        "gradient_of(-loss if self.target is None else loss, x_adv)",
    ),
    Fault(
        "attacks/pgd.py",
        "a step is not projected",
        "at.x_adv = self.threat.project(at.x_adv + self.step_size * self.threat.ascent(gradient), at.x)",
        "at.x_adv = at.x_adv + self.step_size * self.threat.ascent(gradient)",
    ),
    Fault(
        "attacks/pgd.py",
        "a step is lost",
        "for step in range(self.steps):",
        "for step in range(self.steps - 1):",
    ),
    Fault(
        "attacks/base.py",
        "the model is run in whatever mode it is in",
        "with torch.inference_mode(False), frozen_eval(model):",
        "with torch.inference_mode(False):",
    ),
    Fault(
        "attacks/base.py",
        "the result is not projected",
        "replace(found, x_adv=self.threat.project(found.x_adv.detach(), x))",
        "replace(found, x_adv=found.x_adv.detach())",
    ),
    Fault("attacks/apgd.py", "the first step is as long as the radius", "2 * self.threat.eps", "self.threat.eps"),
    Fault(
        "attacks/square.py",
        "a worse square is kept too",
        "kept = active[better]\n            x_adv[kept], loss[kept], broken[kept] = candidate[better], new_loss[better], breaks[better]",
        "x_adv[active], loss[active], broken[active] = candidate, new_loss, breaks",
    ),
    Fault("attacks/targets.py", "the target may be the true class", "return draw + (draw >= y)", "return draw"),
    Fault(
        "attacks/targets.py",
        "the most likely class is aimed at",
        "logits.scatter(1, y[:, None], torch.inf).argmin(1)",
        "logits.scatter(1, y[:, None], -torch.inf).argmax(1)",
    ),
    # models
    Fault(
        "models/inference.py",
        "dropout and BatchNorm stay in train mode",
        "_set_mode(model, training=False)",
        "_set_mode(model, training=True)",
    ),
    Fault(
        "models/inference.py",
        "buffers are left as the attack made them",
        "                buffer.copy_(before)\n",
        "                pass\n",
    ),
    # defenses
    Fault(
        "objectives/warmup.py",
        "training attacks end early",
        "self.attack.without_early_stop().find_unchecked",
        "self.attack.find_unchecked",
    ),
    Fault(
        "objectives/adversarial_logit_pairing.py",
        "no gradient through the clean side of the pair",
        "self.pairing(clean, adversarial)",
        "self.pairing(clean.detach(), adversarial)",
    ),
    Fault(
        "objectives/adversarial_logit_pairing.py",
        "the weight of the pairing is squared",
        "self.weight * pairing",
        "self.weight**2 * pairing",
    ),
    Fault("objectives/clean_logit_pairing.py", "images are paired with themselves", "logits[pairs : 2 * pairs]", "logits[:pairs]"),
    Fault(
        "objectives/mixup.py",
        "labels are not mixed",
        "(1 - own) * self.cross_entropy(logits, y[partner])",
        "(1 - own) * self.cross_entropy(logits, y)",
    ),
    Fault(
        "objectives/mart.py",
        "sure images weigh most",
        "losses.cross_entropy(clean, y).neg().expm1()",
        "losses.cross_entropy(clean, y).neg().exp().neg()",
    ),
    # evaluation
    Fault(
        "evaluation/attack_run.py",
        "success is taken on the attack's word",
        "torch.where(inside[:, None, None, None], found.x_adv, clean)",
        "found.x_adv",
    ),
    Fault(
        "evaluation/attack_run.py",
        "non-finite logits count as correct",
        "return cls(prediction == y, ",
        "return cls(logits.argmax(1) == y, ",
    ),
    Fault(
        "evaluation/attack_run.py",
        "an image wrong without an attack may become right by one",
        "correct=batch.correct & Correctness.of(logits, batch.y)",
        "correct=Correctness.of(logits, batch.y)",
    ),
    Fault(
        "evaluation/attack_run.py",
        "attacks in turn search all images",
        "found if run.in_turn else batch",
        "batch",
    ),
    Fault(
        "evaluation/attack_run.py",
        "remembered logits are counted as passes",
        "(network.hits - hits)",
        "0",
    ),
    Fault(
        "evaluation/aggregate.py",
        "the best attack is reported as the worst",
        "name, worst = min(attacks.items(),",
        "name, worst = max(attacks.items(),",
    ),
    Fault(
        "evaluation/aggregate.py",
        "the union counts what any attack leaves",
        "accuracy(np.all([_correct(run",
        "accuracy(np.any([_correct(run",
    ),
    Fault(
        "evaluation/resumable.py",
        "what is done is done again",
        "np.setdiff1d(positions, done)",
        "positions",
    ),
    # auditing
    Fault(
        "auditing/scheduler.py",
        "cost is forgotten",
        "(DECAY * own[-1].broken / own[-1].attacked if own else PRIOR) / strategy.cost",
        "(DECAY * own[-1].broken / own[-1].attacked if own else PRIOR)",
    ),
    Fault(
        "auditing/audit_ledger.py",
        "a later break is written over the first",
        'column(chunks, "broken") & self.still_correct[position]',
        'column(chunks, "broken")',
    ),
    Fault(
        "auditing/audit_ledger.py",
        "the furthest examples are attacked",
        '(-self.columns["margin"][active] / scale)',
        '(self.columns["margin"][active] / scale)',
    ),
    Fault(
        "auditing/verdict.py",
        "two images of sixty are a verdict",
        "gap >= MATERIAL and low >= PROVEN",
        "gap >= MATERIAL",
    ),
    Fault("auditing/verdict.py", "a blind search is trusted", "if finding.forbids_trust]", "if finding.blocks]"),
    Fault("auditing/convergence.py", "the first rounds count too", "last = own[len(own) // 2 :]", "last = own"),
    Fault("auditing/convergence.py", "a round on few is a whole pass", "return min(1.0, float(", "return max(1.0, float("),
    # training and what it leaves
    Fault("training/train_step.py", "gradients of the step before are kept", "    state.optimizer.zero_grad()\n", ""),
    Fault(
        "training/train_step.py",
        "a non-finite loss reaches the weights",
        "if distributed.any_process(not finite.all(), team.world):",
        "if False:",
    ),
    Fault("optim.py", "biases are decayed too", "groups[parameter.ndim > 1]", "groups[parameter.ndim > 0]"),
    Fault("optim.py", "the schedule never reaches 0", "min(1.0, epoch / epochs)", "min(1.0, epoch / (epochs + 1))"),
    Fault("storage/checkpoint.py", "the oldest checkpoints are kept", "[:-keep]:", "[keep:]:"),
    Fault("storage/checkpoint.py", "a checkpoint may run code", "weights_only=True)", "weights_only=False)"),
)
