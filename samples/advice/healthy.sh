# Nothing to say: a pipeline, some work, a status that is an answer.
seq 20000 | sort -rn | tail -1 >/dev/null
for name in a b c d e; do
	gzip -c /bin/bash | gzip -dc | cksum >/dev/null
done
if test -e /nonexistent; then ls /; fi
exit 0
