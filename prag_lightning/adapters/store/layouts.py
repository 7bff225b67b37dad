"""Finding a layout of stores: one of ours by name, or a user's own class."""

from prag_lightning.adapters.store.base import AdapterStore
from prag_lightning.adapters.store.manifest import Manifest
from prag_lightning.adapters.store.packed import PackedStore
from prag_lightning.adapters.store.peft_folders import PeftFolderStore
from prag_lightning.documents.extensions import import_part

# A name, a class path, or the class.
StoreLayout = str | type[AdapterStore]
SHIPPED: tuple[type[AdapterStore], ...] = (PackedStore, PeftFolderStore)


def find_layout(layout: StoreLayout) -> type[AdapterStore]:
    """Return the layout that a user asks for.

    Args:
        layout: ``packed``, ``peft``, the name of another subclass of `AdapterStore` that has been
            imported, its class path (``my_module.MyStore``), which is imported, or the class.

    Raises:
        ValueError: If there is no such layout.
    """
    if isinstance(layout, str):
        layout = AdapterStore.layouts.get(layout) or _import_layout(layout)
    if layout not in AdapterStore.layouts.values():
        raise ValueError(f"the layout {layout.__name__} has no name; give it one, as in name = 'x'")
    return layout


def layout_of(manifest: Manifest, source: str) -> type[AdapterStore]:
    """Return the layout of a store that is there. Nothing is imported on a manifest's word.

    Args:
        manifest: Its manifest.
        source: What the store is called in errors.

    Raises:
        ValueError: If it is a layout that is not known here.
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
