"""Looking up a store layout, by name or by import path."""

from prag_lightning.adapters.store.base import AdapterStore
from prag_lightning.adapters.store.manifest import Manifest
from prag_lightning.adapters.store.packed import PackedStore
from prag_lightning.adapters.store.peft_folders import PeftFolderStore
from prag_lightning.documents.extensions import import_part

# A name, a class path, or the class.
StoreLayout = str | type[AdapterStore]
SHIPPED: tuple[type[AdapterStore], ...] = (PackedStore, PeftFolderStore)


def find_layout(layout: StoreLayout) -> type[AdapterStore]:
    """Return a layout by name, class path or class.

    Args:
        layout: ``packed``, ``peft``, the name of another imported subclass of `AdapterStore`, a
            class path to import (``my_module.MyStore``), or the class itself.

    Raises:
        ValueError: If there is no such layout.
    """
    if isinstance(layout, str):
        layout = AdapterStore.layouts.get(layout) or _import_layout(layout)
    if layout not in AdapterStore.layouts.values():
        raise ValueError(f"the layout {layout.__name__} has no name; give it one, as in name = 'x'")
    return layout


def layout_of(manifest: Manifest, source: str) -> type[AdapterStore]:
    """Return the layout of an existing store. Nothing named in the manifest is imported.

    Args:
        manifest: Its manifest.
        source: Name of the store in error messages.

    Raises:
        ValueError: If the layout is unknown.
    """
    if manifest.layout not in AdapterStore.layouts:
        raise ValueError(
            f"{source}: has the layout '{manifest.layout}', which is not one of ours; name its "
            "class path (layout, on the command line --layout), or import its module before"
        )
    return AdapterStore.layouts[manifest.layout]


def _import_layout(layout: str) -> type[AdapterStore]:
    found = import_part("layout", layout, AdapterStore.layouts)
    if not (isinstance(found, type) and issubclass(found, AdapterStore)):
        raise ValueError(f"layout '{layout}' does not derive from AdapterStore")
    return found
