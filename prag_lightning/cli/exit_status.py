"""Exit statuses of the command ``prag``."""

DONE = 0
USAGE = 2
# Done, except for some documents, which are listed.
SOME_FAILED = 3
# An unexpected error (sysexits.h: EX_SOFTWARE).
UNFORESEEN = 70
# A disk, a server or a process is at fault (sysexits.h: EX_TEMPFAIL).
TRY_AGAIN = 75
# 128 + the number of the signal, as in shells.
INTERRUPTED = 130
CLOSED_PIPE = 141
TERMINATED = 143
