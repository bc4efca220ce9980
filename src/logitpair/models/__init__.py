"""Networks from images in [0, 1] to logits. A recipe names one by its import path, so yours needs no registration."""

from logitpair.models.certifiable_convnets import CNN6, CNN7, SoftThreshold, StridedConvNet
from logitpair.models.inception import InceptionV3
from logitpair.models.inference import compute_logits, count_logits, frozen_eval
from logitpair.models.load_model import preprocessing, read_model
from logitpair.models.normalized import Normalized
from logitpair.models.other_libraries import as_art, as_foolbox
from logitpair.models.preact_resnet import PreActResNet, PreActResNet18, WideResNet
from logitpair.models.pretrained import Timm
from logitpair.models.resnet import ResNet101, ResNetV2_50, SmallResNetV2
from logitpair.models.revnet import RevNet, RevNet9
from logitpair.models.small_convnets import LeNet, SmallConvNet

__all__ = [
    "CNN6",
    "CNN7",
    "InceptionV3",
    "LeNet",
    "Normalized",
    "PreActResNet",
    "PreActResNet18",
    "ResNet101",
    "ResNetV2_50",
    "RevNet",
    "RevNet9",
    "SmallConvNet",
    "SmallResNetV2",
    "SoftThreshold",
    "StridedConvNet",
    "Timm",
    "WideResNet",
    "as_art",
    "as_foolbox",
    "compute_logits",
    "count_logits",
    "frozen_eval",
    "preprocessing",
    "read_model",
]
