# A server that does not start, and a script that starts it again at once, 23 times.
n=0
while [ $n -lt 23 ]; do
	/bin/sh -c 'exit 3'
	n=$((n + 1))
done
