"""Creating augmenters by short name or import path."""

from prag_lightning.augmentation.base import Augmenter
from prag_lightning.documents.extensions import make_part

SHORT_NAMES = {
    "template": "prag_lightning.augmentation.template.TemplateAugmenter",
    "transformers": "prag_lightning.augmentation.transformers_augmenter.TransformersAugmenter",
    "endpoint": "prag_lightning.augmentation.endpoint_augmenter.EndpointAugmenter",
}


def make_augmenter(spec: object) -> Augmenter:
    """Return the augmenter given by name or import path, with or without settings, or instance.

    Raises:
        ValueError: If there is no such augmenter, or it does not accept these settings.

    >>> make_augmenter({"template": {"num_qas": 2}}).settings["num_qas"]
    2
    """
    return make_part("augmenter", spec, Augmenter, SHORT_NAMES)  # type: ignore[type-abstract]
