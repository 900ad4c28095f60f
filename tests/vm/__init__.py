"""Guests of other kernels: Debian's own, resolved and fetched at run time, booted by qemu with the checkout mounted.

home.py      where things are kept, locks, messages
apt.py       an apt with a state of its own: what can be had, downloads
kernels.py   a word such as 6.12 -> a kernel on disk
roots.py     root file systems, with the Python packages that forktrace needs
guest.py     one boot: the command's output and status
inside/      what runs in a guest
"""
