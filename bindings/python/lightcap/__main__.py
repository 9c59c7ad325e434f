"""`python -m lightcap` is the program `lightcap`."""

from ._programs import lightcap

lightcap()
