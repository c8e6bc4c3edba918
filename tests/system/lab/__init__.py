# SPDX-License-Identifier: ISC
"""What the system tests are made of: a relay, names, peers and clients.

Everything lives on loopback addresses and ports of its own, in a folder of
its own under the system's temporary folder, and ends by its process id."""
