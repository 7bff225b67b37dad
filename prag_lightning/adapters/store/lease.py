"""A writer's place in an object store: an object that is written again as long as it lives."""

import random
import secrets
import threading
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from datetime import datetime, timedelta, timezone

from prag_lightning.adapters.files import StoreFiles
from prag_lightning.adapters.store.durable import StoreLostError
from prag_lightning.adapters.store.lock_file import Holder
from prag_lightning.adapters.store.manifest import MANIFEST
from prag_lightning.adapters.store.recipe import Frozen
from prag_lightning.documents.naming import first_few

# A writer whose lease has not been written for this long is taken for dead.
LIFE = timedelta(minutes=2)
_RENEWAL_SECONDS = 30.0
# Writers that ask for the same documents at the same moment all give way and ask again.
_ATTEMPTS = 8
_LONGEST_PAUSE = 0.5
_PREFIX, _SUFFIX = "writer-", ".lock"


class LeaseRecord(Frozen):
    """What a writer says of itself in its lease.

    Args:
        pid: Its process id.
        host: Its host.
        since: When it opened the store, in seconds since 1970.
        released: Whether it has closed the store.
        alone: Whether it needs the store alone.
        granted: Documents that it is encoding.
        wanted: Documents that it would encode if no other writer is.
    """

    pid: int
    host: str
    since: int
    released: bool = False
    alone: bool = False
    granted: tuple[str, ...] = ()
    wanted: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The process in words."""
        return f"process {self.pid} on host {self.host}"


class Lease:
    """The right to write into an object store, as one of any number of writers.

    Object stores have no locks. What is written there is seen by all at once, though: each writer
    first writes down what it wants, and then reads what the others want. So of two that want the
    same, at least one sees the other, and gives way. How old a lease is, is told by the object
    store's clock alone.

    Args:
        files: The store.

    Attributes:
        number: Number of the writer, drawn at random from so many that no two are the same.

    Raises:
        BlockingIOError: If another writer needs the store alone.
    """

    def __init__(self, files: StoreFiles) -> None:
        self.number = 10**14 + secrets.randbelow(9 * 10**14)
        self._files = files
        self._name = f"{_PREFIX}{self.number}{_SUFFIX}"
        here = asdict(Holder.here())
        self._record = LeaseRecord(**{name: here[name] for name in ("pid", "host", "since")})
        self._manifest: bytes | None = None
        # Leases that will not change any more.
        self._over: set[str] = {self._name}
        self._turn = threading.Lock()
        self._publish()
        if loners := [record.name for record in self._living_others() if record.alone]:
            self._publish(released=True)
            raise BlockingIOError(
                f"{files.url}: {loners[0]} deletes or merges in this store, for which it must be "
                "alone; wait until it is done"
            )
        self._ended = threading.Event()
        self._renewal = threading.Thread(target=self._renew, name="lease-renewal", daemon=True)
        self._renewal.start()

    def check(self) -> None:
        """Check that the store is still the one that was opened.

        Raises:
            StoreLostError: If its manifest is gone or another.
        """
        try:
            manifest = self._files.read(MANIFEST)
        except FileNotFoundError:
            manifest = b""
        self._manifest = self._manifest or manifest
        if not manifest or manifest != self._manifest:
            raise StoreLostError(self._files.url)

    def claim(self, document_ids: Sequence[str], kept: Collection[str]) -> list[str]:
        """Claim documents beside those ``kept``; return those that no other writer has claimed."""
        for attempt in range(1, _ATTEMPTS + 1):
            self._publish(granted=kept, wanted=document_ids)
            taken, contested = self._claimed_by_others(set(document_ids))
            refused = taken | contested
            granted = [name for name in document_ids if name not in refused]
            self._publish(granted=[*kept, *granted])
            if granted or not contested or attempt == _ATTEMPTS:
                break
            time.sleep(random.uniform(0, _LONGEST_PAUSE))
        return granted

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Have the store alone in the block.

        Raises:
            BlockingIOError: If another process is writing.
        """
        self._publish(alone=True)
        try:
            refuse_writers(self._files.url, self._living_others())
            yield
        finally:
            self._publish(alone=False)

    def release(self) -> None:
        """Say that this writer is done."""
        self._ended.set()
        self._renewal.join()
        # Best effort: without it, the lease ends by itself.
        with suppress(OSError):
            self._publish(granted=(), released=True)

    def _renew(self) -> None:
        while not self._ended.wait(_RENEWAL_SECONDS):
            # While there is no connection, others may begin this writer's documents.
            with suppress(OSError):
                self._publish()

    def _publish(
        self,
        granted: Collection[str] | None = None,
        wanted: Collection[str] = (),
        **changes: bool,
    ) -> None:
        """Write the lease, with changes if any."""
        with self._turn:
            update: dict[str, object] = {**changes}
            if granted is not None:
                update |= {"granted": tuple(granted), "wanted": tuple(wanted)}
            self._record = self._record.model_copy(update=update)
            self._files.write(self._name, self._record.model_dump_json().encode())

    def _claimed_by_others(self, document_ids: set[str]) -> tuple[set[str], set[str]]:
        """Return which documents other writers are encoding, and which they ask for just now."""
        taken, contested = set[str](), set[str]()
        for record in self._living_others(document_ids):
            taken.update(document_ids.intersection(record.granted))
            contested.update(document_ids.intersection(record.wanted))
        return taken, contested

    def _living_others(self, document_ids: set[str] | None = None) -> Iterator[LeaseRecord]:
        """Yield the leases of other living writers, of those documents if given."""
        now = self._files.modified(self._name)
        for name, record in read_leases(self._files, self._over):
            if record.released:
                self._over.add(name)
                continue
            claimed = {*record.granted, *record.wanted}
            is_meant = document_ids is None or not document_ids.isdisjoint(claimed)
            # One that was cut off may come back, so its age is looked at each time.
            if is_meant and is_living(self._files, name, now):
                yield record


def refuse_writers(url: str, writers: Iterator[LeaseRecord]) -> None:
    """Refuse a store into which processes are writing.

    Args:
        url: The store.
        writers: Its living writers.

    Raises:
        BlockingIOError: If there are any; the message names them.
    """
    if names := [writer.name for writer in writers]:
        raise BlockingIOError(
            f"{url}: {first_few(names)} {'is' if len(names) == 1 else 'are'} writing into this "
            "store, which must be alone for this; wait until that is done (the lease of a killed "
            f"process ends after {LIFE.seconds} seconds)"
        )


def read_leases(
    files: StoreFiles, skipped: Collection[str] = ()
) -> Iterator[tuple[str, LeaseRecord]]:
    """Yield the file and the record of each lease.

    Args:
        files: The store.
        skipped: Leases that are not read.
    """
    names = [name for name in files.names() if name.startswith(_PREFIX) and name.endswith(_SUFFIX)]
    for name, content in files.read_many([name for name in names if name not in skipped]).items():
        with suppress(ValueError):
            yield name, LeaseRecord.model_validate_json(content)


def living_writers(files: StoreFiles) -> Iterator[tuple[int, LeaseRecord, bool]]:
    """Yield the number and lease of each writer that an object store has had, and if it lives."""
    now = datetime.now(timezone.utc)
    for name, record in read_leases(files):
        number = int(name.removeprefix(_PREFIX).removesuffix(_SUFFIX))
        yield number, record, not record.released and is_living(files, name, now)


def is_living(files: StoreFiles, name: str, now: datetime) -> bool:
    """Return whether a lease was written lately.

    Args:
        files: The store.
        name: The lease.
        now: The present time.
    """
    try:
        return now - files.modified(name) < LIFE
    except FileNotFoundError:
        return False
