"""Every error that Trine raises on purpose, and the exit code that the command line gives it.

    TrineError
    |- RefusedInput             2  the input cannot be trusted or is incomplete; nothing was written
    |  `- ProofRefused          2  a proof, a signature or a file that should prove something does not
    |- BlockedByQuality         4  a quality rule of severity BLOCK failed; nothing was settled
    |- CommittedCycleChanged    5  the cycle is committed and its inputs are no longer the same
    |- CycleOutOfOrder          5  a later cycle is already committed
    |- TakenOver                5  another process took the batch over; it goes on there, and nothing was written here
    |- AwaitsApproval           7  the batch is ready and reserved; people must approve it
    |- Tampered                 8  records, log and signatures do not agree
    |- Unusable                 6  the machine fails us: disk, permissions, database; run the cycle again once it is mended
    |- BrokenInvariant          1  we are wrong: a promise of our own code does not hold

What is wrong with one row or one file is not an error: it is a value (`schemas.reasons`), and the rest goes on.
A message says what was found, what was expected and what to do. It never shows a row or an amount.
"""


class TrineError(Exception):
    """Raised on purpose. `exit_code` is what the command line returns for it."""

    exit_code = 1


class RefusedInput(TrineError):
    """The input cannot be trusted. Raised before anything is written."""

    exit_code = 2


class ProofRefused(RefusedInput):
    """What should prove something does not: a path, a signature, or a text that is not in its one form."""


class BlockedByQuality(TrineError):
    """The quality verdict of a batch forbids that it settles."""

    exit_code = 4


class CommittedCycleChanged(TrineError):
    """A committed cycle was run again with other inputs. What is final is never edited."""

    exit_code = 5


class CycleOutOfOrder(TrineError):
    """A cycle was run after a later one had been committed."""

    exit_code = 5


class TakenOver(TrineError):
    """Another process went on with this batch. What this one wanted to write is refused."""

    exit_code = 5


class AwaitsApproval(TrineError):
    """A batch is reserved, and fewer people have approved it than its policy asks for."""

    exit_code = 7


class Tampered(TrineError):
    """Something stored is no longer what was recorded and signed."""

    exit_code = 8


class BrokenInvariant(TrineError):
    """Trine itself is wrong. Not an `assert`, which disappears under `python -O`."""


class Unusable(TrineError):
    """The machine fails us: a full disk, a folder that cannot be written, a database that does not answer."""

    exit_code = 6
