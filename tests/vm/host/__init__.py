"""forktrace as on a real host: scripts for a guest with systemd, each a list of statements that must hold.

./run guest --systemd newest 'python3 -m tests.vm.host.storm'
"""
