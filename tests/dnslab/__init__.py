# SPDX-License-Identifier: ISC
"""DNS as ostler may meet it: knot whose zones change at run time, a
validating unbound in front of it, and a proxy that breaks answers by name.

    names = Names(folder)           # knot: example, signed.example, ...
    unbound = Unbound(folder, names)
    faults = Faults(names)          # or Faults(unbound)

Each has .server ("IP:PORT", as resolver.servers wants it) and .stop()."""

from .faults import Faults
from .names import Names
from .unbound import Unbound

__all__ = ["Faults", "Names", "Unbound"]
